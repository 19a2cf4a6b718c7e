"""A bank of prompts computes what plain concatenation computes, row by row without padding."""

import pytest
import torch
from tiny import random_prompts, random_rows
from torch.nn.functional import cross_entropy, log_softmax

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.decode import distinct_choices, generate, score_choices
from clinprompt.backbone.gradients import StepPrompts, accumulate_gradients
from clinprompt.batches.encode import Row, collate
from clinprompt.batches.group_rows import micro_batches
from clinprompt.training.member import TASK_LOSS

TASKS = (1, 4)
LENGTHS = [(3, 2), (17, 4), (8, 1), (12, 3), (5, 6), (1, 1)]
END = 257
PLACEMENTS = pytest.mark.parametrize("placement", ["prefix", "suffix"])


def plain_logits(backbone, prompt, row, ids, placement="prefix"):
    """Return the logits that predict each of ``ids`` after a row's input, joined as embeddings."""
    embed = backbone.model.get_input_embeddings()
    parts = [embed(torch.tensor(row.input_ids)), embed(torch.tensor(ids))]
    if prompt is not None:
        parts.insert(0 if placement == "prefix" else 1, prompt)
    logits = backbone.model(inputs_embeds=torch.cat(parts)[None]).logits[0]
    return logits[-len(ids) - 1 : -1]


def plain_loss(backbone, prompts, rows, placement="prefix"):
    """Return the mean over rows of the mean cross-entropy of their target tokens."""
    losses = []
    for row in rows:
        prompt = None if prompts is None else prompts[TASKS.index(row.task)]
        predicted = plain_logits(backbone, prompt, row, row.target_ids, placement)
        losses.append(cross_entropy(predicted, torch.tensor(row.target_ids)))
    return torch.stack(losses).mean()


def step_loss(backbone, prompts, rows, *, max_tokens, placement="prefix"):
    groups = micro_batches(rows, max_tokens=max_tokens)
    batches = [collate([rows[i] for i in group], pad_id=backbone.pad_id) for group in groups]
    step = StepPrompts(prompts, TASKS, (0,) * len(TASKS), placement)
    return accumulate_gradients(backbone.model, step, batches, TASK_LOSS)[0].total


@PLACEMENTS
@pytest.mark.parametrize("length", [1, 4, 9])
def test_a_step_equals_plain_concatenation_in_loss_and_gradients(precise, length, placement):
    rows = random_rows(LENGTHS, tasks=TASKS)
    plain = random_prompts(2, length).double().requires_grad_()
    shared = plain.detach().clone().requires_grad_()
    expected = plain_loss(precise, plain, rows, placement)
    expected.backward()
    found = step_loss(precise, shared, rows, max_tokens=40, placement=placement)
    assert found == pytest.approx(expected.item(), rel=1e-6)
    error = (shared.grad - plain.grad).norm() / plain.grad.norm()
    assert plain.grad.norm() > 0
    assert error < 2e-6


@pytest.mark.parametrize("max_tokens", [1, 25, 1000])
def test_the_size_of_micro_batches_does_not_matter(precise, max_tokens):
    rows, prompts = random_rows(LENGTHS, tasks=TASKS, seed=1), random_prompts(2, 3).double()
    first, other = prompts.clone().requires_grad_(), prompts.clone().requires_grad_()
    expected = step_loss(precise, first, rows, max_tokens=60)
    found = step_loss(precise, other, rows, max_tokens=max_tokens)
    assert found == pytest.approx(expected, rel=1e-6)
    assert (first.grad - other.grad).norm() / first.grad.norm() < 2e-6


def test_gradients_add_up_over_calls(tiny_llama):
    rows, prompts = random_rows(LENGTHS, tasks=TASKS), random_prompts(2, 3).requires_grad_()
    step_loss(tiny_llama, prompts, rows, max_tokens=60)
    once = prompts.grad.clone()
    step_loss(tiny_llama, prompts, rows, max_tokens=60)
    torch.testing.assert_close(prompts.grad, 2 * once)


CHOICES = (
    ((10, 11, 12), (10, 11), (40,), (41, 9, 8, 7)),
    ((5,), (6,)),
    ((10, 11, END), (10, END), (200, 201, END)),
    ((1, 2), (3, 4), (1, 3)),
)


def plain_score(backbone, prompt, row, ids, placement):
    with torch.no_grad():
        logits = plain_logits(backbone, prompt, row, ids, placement)
    return log_softmax(logits, dim=-1)[range(len(ids)), list(ids)].sum().item()


def bank_of(backbone, prompts, placement="prefix"):
    with torch.no_grad():
        return make_bank(backbone.model, prompts, placement)


@PLACEMENTS
@pytest.mark.parametrize("has_prompt", [True, False])
def test_choices_score_as_plain_concatenation_alone_and_in_a_mixed_batch(
    backbone, has_prompt, placement
):
    rows = random_rows([(9, 0), (2, 0), (30, 0), (14, 0)], tasks=(0, 1), seed=2)
    prompts = random_prompts(2, 4) if has_prompt else None
    bank = bank_of(backbone, prompts, placement)
    together = score_choices(backbone, rows, CHOICES, bank)
    for row, choices, found in zip(rows, CHOICES, together, strict=True):
        [alone] = score_choices(backbone, [row], [choices], bank)
        prompt = prompts[row.task] if has_prompt else None
        expected = [plain_score(backbone, prompt, row, ids, placement) for ids in choices]
        assert alone == pytest.approx(expected, rel=1e-5, abs=1e-4)
        assert found == pytest.approx(alone, rel=1e-5, abs=1e-4)


def test_a_target_does_not_change_how_choices_score(tiny_llama):
    bare = random_rows([(9, 0)])[0]
    with_target = Row(0, bare.input_ids, (1, 2, 3))
    scores = [score_choices(tiny_llama, [row], [CHOICES[0]], Bank()) for row in (bare, with_target)]
    assert scores[0] == scores[1]


def test_choices_keep_the_end_token_only_where_one_begins_another():
    assert distinct_choices([(1, 2, END), (3, END)], end_id=END) == ((1, 2), (3,))
    clash = ((1, 2, END), (1, END), (3, END))
    assert distinct_choices(clash, end_id=END) == clash


@PLACEMENTS
def test_text_is_the_same_alone_and_in_a_mixed_batch(backbone, placement):
    rows = random_rows([(9, 0), (2, 0), (30, 0), (14, 0), (1, 0)], tasks=(0, 1), seed=3)
    bank = bank_of(backbone, random_prompts(2, 4), placement)
    together = generate(backbone, rows, bank, limits=[12] * len(rows), end_ids=(END,))
    alone = [generate(backbone, [row], bank, limits=[12], end_ids=(END,))[0] for row in rows]
    assert together == alone


@pytest.mark.parametrize("num_own", [0, 3])
def test_a_note_read_once_for_all_tasks_gives_the_answers_of_each_task_alone(backbone, num_own):
    """The rows share a note; each has ``num_own`` more words after it."""
    note = random_rows([(25, 0)], seed=6)[0].input_ids
    own = random_rows([(num_own + k, 0) for k in range(3)] if num_own else [(0, 0)] * 3, seed=7)
    rows = [Row(k, note + row.input_ids) for k, row in enumerate(own)]
    bank = bank_of(backbone, random_prompts(3, 4), "suffix")
    together = generate(backbone, rows, bank, limits=[12] * 3, end_ids=(END,))
    alone = [generate(backbone, [row], bank, limits=[12], end_ids=(END,))[0] for row in rows]
    assert together == alone
    scores = score_choices(backbone, rows, [CHOICES[0]] * 3, bank)
    for row, found in zip(rows, scores, strict=True):
        prompt = random_prompts(3, 4)[row.task]
        expected = [plain_score(backbone, prompt, row, ids, "suffix") for ids in CHOICES[0]]
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-4)


def test_rows_that_end_early_do_not_change_the_others(backbone):
    rows = random_rows([(9, 0), (2, 0), (30, 0), (14, 0)], tasks=(0, 1), seed=4)
    bank = bank_of(backbone, random_prompts(2, 4))
    free = generate(backbone, rows, bank, limits=[10] * len(rows), end_ids=(END,))
    end_id = free[0][1]  # the first row now ends before its second token, others elsewhere
    cut = [ids[: ids.index(end_id)] if end_id in ids else ids for ids in free]
    assert generate(backbone, rows, bank, limits=[10] * len(rows), end_ids=(end_id,)) == cut
    assert len({len(ids) for ids in cut}) > 1


def test_text_ends_at_the_first_end_token(backbone):
    rows = random_rows([(9, 0), (2, 0), (30, 0), (14, 0)], tasks=(0, 1), seed=4)
    bank = bank_of(backbone, random_prompts(2, 4))
    free = generate(backbone, rows, bank, limits=[10] * len(rows), end_ids=(END,))
    ends = {END, free[0][1], free[1][3]}
    cut = [ids[: min([i for i, id_ in enumerate(ids) if id_ in ends] or [10])] for ids in free]
    assert generate(backbone, rows, bank, limits=[10] * len(rows), end_ids=ends) == cut
    assert len({len(ids) for ids in cut}) > 1


def test_rows_with_different_limits_give_the_same_text_up_to_their_limit(backbone):
    rows = random_rows([(9, 0), (2, 0), (30, 0), (14, 0)], tasks=(0, 1), seed=4)
    bank = bank_of(backbone, random_prompts(2, 4))
    free = generate(backbone, rows, bank, limits=[10] * len(rows), end_ids=(END,))
    own = generate(backbone, rows, bank, limits=[1, 10, 3, 2], end_ids=(END,))
    assert own == [free[0][:1], free[1], free[2][:3], free[3][:2]]


@pytest.mark.parametrize("has_prompt", [True, False])
def test_greedy_text_equals_what_transformers_generates(backbone, has_prompt):
    prompts = random_prompts(1, 4)
    bank = bank_of(backbone, prompts if has_prompt else None)
    for row in random_rows([(3, 0), (11, 0), (20, 0)], seed=5):
        text = backbone.model.get_input_embeddings()(torch.tensor(row.input_ids))
        embeds = torch.cat([prompts[0], text])[None] if has_prompt else text[None]
        expected = backbone.model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long),
            do_sample=False,
            max_new_tokens=15,
            eos_token_id=END,
            pad_token_id=backbone.pad_id,
        )[0].tolist()
        [found] = generate(backbone, [row], bank, limits=[15], end_ids=(END,))
        assert list(found) == [token for token in expected if token != END]


def test_the_sliding_window_of_the_tiny_gpt_oss_has_an_effect(tiny_gpt_oss, monkeypatch):
    """Otherwise the tests above would not notice a missing sliding-window mask."""
    [row] = random_rows([(20, 3)], tasks=TASKS)
    prompts = random_prompts(2, 4)
    right = step_loss(tiny_gpt_oss, prompts.clone().requires_grad_(), [row], max_tokens=99)
    monkeypatch.setattr(tiny_gpt_oss.model.config, "sliding_window", 1000)
    wide = step_loss(tiny_gpt_oss, prompts.clone().requires_grad_(), [row], max_tokens=99)
    assert abs(right - wide) > 1e-2


def test_the_prompt_changes_the_loss(backbone):
    rows = random_rows([(6, 3)], tasks=TASKS)
    losses = {
        step_loss(backbone, random_prompts(2, 3, seed=seed).requires_grad_(), rows, max_tokens=99)
        for seed in range(3)
    }
    assert max(losses) - min(losses) > 1e-2
