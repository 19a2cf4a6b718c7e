"""Fitting counts every row the same, and fits several members as it fits one."""

from dataclasses import replace

import pytest
import torch
from tiny import place_in, random_prompts, random_rows
from torch.nn.functional import cross_entropy

from clinprompt.backbone.gradients import Loss
from clinprompt.backbone.tuners import PromptTuner
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.settings.groups import FitSettings
from clinprompt.training.fit import (
    FitMember,
    FitSpec,
    fit,
    fit_together,
    mean_loss,
    rows_by_step,
)
from clinprompt.training.losses import task_loss

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
