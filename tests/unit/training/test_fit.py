"""Fitting counts every row the same, and fits several members as it fits one."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from tiny import place_in, random_prompts, random_rows
from torch.nn.functional import cross_entropy

from clinprompt.backbone.gradients import Loss
from clinprompt.backbone.memory import is_out_of_memory
from clinprompt.backbone.tuners import PromptTuner, lora
from clinprompt.errors import RunError
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.groups import FitSettings
from clinprompt.training.fit import fit, fit_together, mean_loss
from clinprompt.training.losses import task_loss
from clinprompt.training.member import FitMember, FitSpec, rows_by_step
from clinprompt.training.progress import Silent

ROWS = random_rows([(6, 2), (4, 3), (9, 1), (1, 5)], tasks=(0, 2))


@pytest.mark.parametrize("max_tokens", [1, 20, 4096])
def test_mean_loss_is_the_mean_over_rows_of_the_mean_over_tokens(backbone, max_tokens):
    prompts = random_prompts(3, 4)
    losses = []
    for row in ROWS:
        text = backbone.model.get_input_embeddings()(torch.tensor(row.input_ids + row.target_ids))
        embeds = torch.cat([prompts[row.task], text])[None]
        logits = backbone.model(inputs_embeds=embeds).logits[0]
        first = 4 + len(row.input_ids) - 1
        losses.append(cross_entropy(logits[first:-1], torch.tensor(row.target_ids)).item())
    found = mean_loss(backbone, PromptTuner(SoftPrompts(prompts)), ROWS, max_tokens=max_tokens)
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def member_of(tasks, *, name="phase", start=0):
    """Return a prompt for each task, with rows for each."""
    tuner = PromptTuner(SoftPrompts(random_prompts(tasks, 3, seed=start)))
    rows = [random_rows([(5, 2), (3, 1), (7, 3)], seed=start + task) for task in range(tasks)]
    settings = FitSettings(steps=4, rows=3, warmup_steps=1)
    return FitMember(name, tuner, rows, FitSpec(settings, {"prompt": 0.05}, seed=start))


def test_fit_is_fit_together_with_one_member(backbone, tmp_path):
    one, other = member_of(2), member_of(2)
    alone = fit(backbone, one, place_in(tmp_path / "alone"))
    [together] = fit_together(backbone, [other], place_in(tmp_path / "together"))
    assert torch.equal(one.tuner.module.vectors, other.tuner.module.vectors)
    assert (alone.step, alone.tokens, alone.last_loss) == (
        together.step,
        together.tokens,
        together.last_loss,
    )


def test_members_of_several_tasks_end_as_each_would_alone(backbone, tmp_path):
    sizes = {"a": 2, "b": 1, "c": 3}
    alone, joint = (
        [member_of(size, name=name, start=size) for name, size in sizes.items()] for _ in range(2)
    )
    losses = [fit(backbone, one, place_in(tmp_path / one.name)).last_loss for one in alone]
    found = fit_together(backbone, joint, place_in(tmp_path))
    assert [progress.last_loss for progress in found] == pytest.approx(losses, rel=1e-2)
    for one, other in zip(alone, joint, strict=True):
        torch.testing.assert_close(
            other.tuner.module.vectors, one.tuner.module.vectors, rtol=1e-2, atol=1e-2
        )


def test_rows_of_a_step_belong_to_the_tasks_of_their_member():
    member = member_of(2)
    steps = rows_by_step(member, first_task=5)
    assert len(steps) == 4
    drawn = {row.task for rows in steps for row in rows}
    assert drawn <= {5, 6}
    inputs = {(row.task - 5, row.input_ids) for rows in steps for row in rows}
    assert inputs <= {(k, row.input_ids) for k, rows in enumerate(member.rows) for row in rows}


def test_only_a_composed_loss_writes_its_terms_to_the_log(tiny_llama, tmp_path):
    def parts(batch, states):
        losses = task_loss(states.logits, states.labels)
        return {"first": losses, "second": losses}

    member = member_of(1)
    fit(tiny_llama, member, place_in(tmp_path / "plain"))
    composed = replace(member.spec, loss=Loss(parts, {"first": 0.5, "second": 1.0}))
    fit(tiny_llama, replace(member_of(1), spec=composed), place_in(tmp_path / "composed"))
    plain, terms = (place_in(tmp_path / name).log.rows()[0] for name in ("plain", "composed"))
    assert not {"task", "first", "second"} & plain.keys()
    assert terms["first"] == pytest.approx(plain["loss"], rel=1e-5)
    assert terms["loss"] == pytest.approx(1.5 * plain["loss"], rel=1e-5)


class FailsOnce:
    """The task loss, which has not enough memory for the micro-batches of one call each."""

    def __init__(self, error, *calls):
        self.error, self.calls, self.seen = error, calls, []

    def __call__(self, batch, states):
        self.seen.append(len(batch.tasks))
        if len(self.seen) in self.calls:
            raise self.error
        return {"task": task_loss(states.logits, states.labels)}


class Heard(Silent):
    """Keep what was said."""

    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


FULL = RuntimeError("[enforce fail] err == 0. DefaultCPUAllocator: can't allocate memory")
CUDA_FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def trained_with(backbone, folder, loss, *, limit, kind, reporter=None, steps=3):
    """Train a prompt or LoRA on four rows a step, of 16 tokens each; return its numbers."""
    rows = [random_rows([(12, 4)] * 4)]
    settings = FitSettings(steps=steps, rows=4, warmup_steps=0, micro_batch_tokens=limit)
    made = lora(backbone, rank=2, modules=("q_proj", "v_proj"), seed=5)
    plain = nullcontext(PromptTuner(SoftPrompts(random_prompts(1, 3))))
    with made if kind == "lora" else plain as tuner:
        rates = {"lora": 0.05} if kind == "lora" else {"prompt": 0.05}
        spec = FitSpec(settings, rates, 0, Loss(loss, {"task": 1.0}))
        files = place_in(folder, reporter=reporter)
        progress = fit(backbone, FitMember("phase", tuner, rows, spec), files)
        groups = tuner.parameter_groups().values()
        return [p.detach().clone() for group in groups for p in group], progress.last_loss


@pytest.mark.parametrize("error", [FULL, CUDA_FULL], ids=["cpu", "gpu"])
@pytest.mark.parametrize("kind", ["prompt", "lora"])
def test_a_step_without_enough_memory_is_repeated_with_half_the_micro_batch(
    backbone, tmp_path, kind, error
):
    """The second of two micro-batches fails: what the first one added must not count twice."""
    fails, whole = FailsOnce(error, 2), FailsOnce(error)
    reporter = Heard()
    found = trained_with(backbone, tmp_path / "full", fails, limit=32, kind=kind, reporter=reporter)
    expected = trained_with(backbone, tmp_path / "small", whole, limit=16, kind=kind)
    assert fails.seen == [2, 2, *[1] * 12]
    assert all(torch.equal(one, other) for one, other in zip(found[0], expected[0], strict=True))
    assert found[1] == expected[1]
    [said] = reporter.said
    assert said.startswith("not enough memory: the step is repeated with micro-batches of 16 tok")


def test_a_micro_batch_that_is_smaller_than_its_limit_is_halved_too(tiny_llama, tmp_path):
    fails = FailsOnce(FULL, 1)
    trained_with(tiny_llama, tmp_path, fails, limit=4096, kind="prompt", steps=1)
    assert fails.seen == [4, 2, 2]


def test_a_row_that_does_not_fit_into_memory_ends_the_run_and_keeps_its_state(tiny_llama, tmp_path):
    """Steps 1 and 2 have one micro-batch; step 3 fails for 4, 2 and 1 rows at a time."""
    fails = FailsOnce(FULL, 3, 4, 5)
    message = r"phase: not enough memory at step 3 for one row of at most 16 tokens; free some"
    with pytest.raises(RunError, match=message):
        trained_with(tiny_llama, tmp_path, fails, limit=4096, kind="prompt")
    assert fails.seen == [4, 4, 4, 2, 1]
    again = FailsOnce(FULL)
    found = trained_with(tiny_llama, tmp_path, again, limit=4096, kind="prompt")
    whole = trained_with(tiny_llama, tmp_path / "w", FailsOnce(FULL), limit=4096, kind="prompt")
    assert again.seen == [4]
    assert torch.equal(found[0][0], whole[0][0])


def test_other_errors_of_a_step_are_not_taken_for_a_lack_of_memory(tiny_llama, tmp_path):
    fails = FailsOnce(RuntimeError("a mistake of ours"), 1)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        trained_with(tiny_llama, tmp_path, fails, limit=4096, kind="prompt")


def test_pytorch_says_that_memory_is_full_as_we_know_it():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(10**15)
    assert is_out_of_memory(raised.value)
