"""The distillation loss is zero when the teacher is the student; padding never counts."""

import errno
import math
import os
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import random_prompts, random_rows

from clinprompt.backbone.bank import Bank, make_bank, target_states
from clinprompt.backbone.gradients import StepPrompts, accumulate_gradients
from clinprompt.batches.encode import collate
from clinprompt.errors import RunError
from clinprompt.settings.groups import DistillSettings
from clinprompt.training import teacher_cache
from clinprompt.training.distillation import Teachers, distillation_loss
from clinprompt.training.losses import (
    TeacherOutputs,
    hidden_loss,
    logits_loss,
    summarize,
    task_loss,
)
from clinprompt.training.teacher_cache import CacheLayout, TeacherCache

SETTINGS = DistillSettings(temperature=2.0, logits_weight=0.5, hidden_weight=0.25, top_k=0)
ROWS = random_rows([(6, 3), (15, 1), (3, 5), (9, 2)], tasks=(0, 1))


def outputs_of(logits, *, top_k=0, temperature=1.0):
    return summarize(logits, torch.zeros(len(logits), 1), top_k=top_k, temperature=temperature)


def losses(backbone, student, teacher, rows, *, settings=SETTINGS, cache=None):
    """Return the whole loss of a step, its terms and the student's gradient."""
    student = student.clone().requires_grad_()
    with torch.no_grad():
        bank = make_bank(backbone.model, teacher)
    loss = distillation_loss(Teachers(backbone, bank, settings, cache))
    batches = [collate(rows, pad_id=backbone.pad_id)]
    step = StepPrompts(student, (0, 1), (0, 0))
    [values] = accumulate_gradients(backbone.model, step, batches, loss)
    return values.total, values.terms, student.grad


def test_the_loss_is_zero_when_the_teacher_is_the_student(backbone):
    prompts = random_prompts(2, 4)
    whole, terms, _ = losses(backbone, prompts, prompts, ROWS)
    assert terms["logits"] == pytest.approx(0, abs=1e-9)
    assert terms["hidden"] == pytest.approx(0, abs=1e-9)
    assert whole == pytest.approx(terms["task"])


def test_the_loss_is_positive_when_the_teacher_differs(backbone):
    _, terms, gradient = losses(backbone, random_prompts(2, 4), random_prompts(2, 4, seed=1), ROWS)
    assert terms["logits"] > 1e-3
    assert terms["hidden"] > 1e-3
    assert gradient.isfinite().all()


def test_a_teacher_may_be_of_another_length(tiny_llama):
    _, terms, _ = losses(tiny_llama, random_prompts(2, 4), random_prompts(2, 7, seed=1), ROWS)
    assert terms["logits"] > 0


def test_the_whole_loss_is_the_weighted_sum_of_its_terms(tiny_llama):
    whole, terms, _ = losses(tiny_llama, random_prompts(2, 4), random_prompts(2, 4, seed=1), ROWS)
    # The weights of SETTINGS.
    expected = terms["task"] + 0.5 * terms["logits"] + 0.25 * terms["hidden"]
    assert whole == pytest.approx(expected, rel=1e-5)


def test_padding_never_counts(backbone):
    """A row has the same loss alone (weight 1) and in a batch with a longer row (weight 1/4)."""
    student, teacher = random_prompts(2, 4), random_prompts(2, 4, seed=1)
    _, together, gradient = losses(backbone, student, teacher, ROWS)
    alone = [losses(backbone, student, teacher, [row]) for row in ROWS]
    for name, value in together.items():
        mean = sum(terms[name] for _, terms, _ in alone) / len(ROWS)
        assert value == pytest.approx(mean, rel=1e-4), name
    mean_gradient = torch.stack([own for _, _, own in alone]).mean(dim=0)
    assert (gradient - mean_gradient).norm() / gradient.norm() < 1e-4


def test_target_states_hold_one_entry_a_target_token(tiny_llama):
    states = target_states(tiny_llama.model, collate(ROWS, pad_id=tiny_llama.pad_id), Bank())
    assert states.labels.tolist() == [token for row in ROWS for token in row.target_ids]
    assert states.rows.tolist() == [i for i, row in enumerate(ROWS) for _ in row.target_ids]


def test_divergence_equals_a_hand_calculation_at_temperature_2():
    teacher, student = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    # At τ = 2 the teacher's logits are (ln 3, 0): p = (3/4, 1/4); the student's q = (1/2, 1/2).
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    found = logits_loss(student, outputs_of(teacher, temperature=2.0), temperature=2.0)
    assert found.item() == pytest.approx(4 * divergence)


def test_divergence_runs_from_teacher_to_student_not_back():
    certain, even = torch.tensor([[math.log(9), 0.0]]), torch.zeros(1, 2)
    forth = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    back = 0.5 * math.log(5 / 9) + 0.5 * math.log(5)
    found = logits_loss(even, outputs_of(certain), temperature=1.0)
    assert found.item() == pytest.approx(forth)
    found = logits_loss(certain, outputs_of(even), temperature=1.0)
    assert found.item() == pytest.approx(back)


def test_tokens_other_than_the_most_likely_count_as_one_outcome():
    """p = (1/2, 1/4, 1/4) and q = (1/4, 1/2, 1/4): with k = 1, (1/2, 1/2) and (1/4, 3/4)."""
    teacher, student = (
        torch.tensor([[0.5, 0.25, 0.25]]).log(),
        torch.tensor([[1.0, 2.0, 1.0]]).log(),
    )
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    found = logits_loss(student, outputs_of(teacher, top_k=1), temperature=1.0)
    assert found.item() == pytest.approx(expected)
    whole = 0.5 * math.log(2) + 0.25 * math.log(0.5)
    for top_k in (0, 3, 9):
        found = logits_loss(student, outputs_of(teacher, top_k=top_k), temperature=1.0)
        assert found.item() == pytest.approx(whole)


def test_a_rest_of_probability_zero_neither_counts_nor_breaks_the_gradient():
    teacher = torch.tensor([[0.0, -200.0, -200.0]])
    student = torch.tensor([[0.0, 1.0, -300.0]], requires_grad=True)
    logits_loss(student, outputs_of(teacher, top_k=1), temperature=1.0).sum().backward()
    assert student.grad.isfinite().all()


@given(st.integers(1, 11), st.integers(0, 99))
def test_divergence_over_more_likely_tokens_is_never_smaller(top_k, seed):
    teacher, student = 3 * torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(seed))
    fewer, more = (
        logits_loss(student, outputs_of(teacher, top_k=k), temperature=1.0).sum().item()
        for k in (top_k, top_k + 1)
    )
    assert 0 <= fewer <= more + 1e-5


@pytest.mark.parametrize("top_k", [0, 3])
def test_cached_outputs_give_the_loss_of_live_teachers_within_float16(backbone, tmp_path, top_k):
    settings = SETTINGS.model_copy(update={"top_k": top_k})
    student, teacher = random_prompts(2, 4), random_prompts(2, 4, seed=1)
    rows = [replace(row, number=number) for number, row in enumerate(ROWS)]
    num_likely = top_k or backbone.vocabulary_size
    layout = CacheLayout(tuple(len(row.target_ids) for row in rows), num_likely, 32, "made", 2.0)
    cache = TeacherCache(tmp_path / "teachers.cache", layout)
    live, live_terms, live_gradient = losses(backbone, student, teacher, rows, settings=settings)
    some = losses(backbone, student, teacher, rows[1:3], settings=settings, cache=cache)
    first = losses(backbone, student, teacher, rows, settings=settings, cache=cache)
    # All rows are cached, so the other teacher is not read.
    again = losses(backbone, student, 9 * teacher, rows, settings=settings, cache=cache)
    assert some[0] != live
    for whole, terms, gradient in (first, again):
        assert whole == pytest.approx(live, rel=2e-3)
        assert terms["hidden"] == pytest.approx(live_terms["hidden"], rel=2e-3)
        assert (gradient - live_gradient).norm() < 5e-3 * live_gradient.norm()
    assert first[0] == again[0]


def test_outputs_of_a_bfloat16_backbone_can_be_cached(tmp_path):
    cache = TeacherCache(tmp_path / "teachers.cache", CacheLayout((1,), 3, 4, "made", 1.0))
    outputs = TeacherOutputs(
        torch.arange(3)[None],
        -torch.arange(3.0)[None].bfloat16(),
        -torch.ones(1).bfloat16(),
        torch.ones(1, 4).bfloat16(),
    )
    cache.add([0], outputs)
    assert torch.equal(cache.read([0], torch.device("cpu")).hidden, torch.ones(1, 4))


def test_a_cache_that_does_not_fit_on_the_disk_leaves_no_file(tmp_path, monkeypatch):
    def full(descriptor, offset, length):
        os.write(descriptor, b"x" * (length // 2))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(RunError, match=r"No space left.*cache_teachers"):
        TeacherCache(tmp_path / "teachers.cache", CacheLayout((2, 1), 3, 4, "made", 1.0))
    assert not list(tmp_path.iterdir())


def test_a_cache_has_its_full_size_where_the_system_cannot_reserve_space(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    path, layout = tmp_path / "teachers.cache", CacheLayout((2, 1), 3, 4, "made", 1.0)
    assert not TeacherCache(path, layout).has(0)
    assert path.stat().st_size == layout.num_bytes


def test_a_cache_of_other_teachers_is_replaced(tmp_path):
    path, layout = tmp_path / "teachers.cache", CacheLayout((2, 1), 3, 4, "these", 1.0)
    outputs = TeacherOutputs(
        torch.arange(3)[None], -torch.arange(3.0)[None], -torch.ones(1), torch.ones(1, 4)
    )
    TeacherCache(path, layout).add([1], outputs)
    assert path.stat().st_size == layout.num_bytes == 3 * (3 * 4 + 3 * 2 + 2 + 4 * 2) + 2
    same = TeacherCache(path, layout)
    assert [same.has(row) for row in (0, 1)] == [False, True]
    recalled = same.read([1], torch.device("cpu"))
    for name in ("likely", "log_likely", "log_rest", "hidden"):
        assert torch.equal(getattr(recalled, name), getattr(outputs, name))
    other = TeacherCache(path, replace(layout, teachers="others"))
    assert not other.has(1)
    other.delete()
    assert not list(tmp_path.iterdir())


def test_a_cache_from_before_the_machine_started_is_replaced(tmp_path, monkeypatch):
    """A power cut may have kept that a row is filled in, and not the row."""
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(teacher_cache, "_BOOT", boot)
    path, layout = tmp_path / "teachers.cache", CacheLayout((1,), 3, 4, "these", 1.0)
    outputs = TeacherOutputs(
        torch.arange(3)[None], -torch.arange(3.0)[None], -torch.ones(1), torch.ones(1, 4)
    )
    boot.write_text("first\n")
    TeacherCache(path, layout).add([0], outputs)
    assert TeacherCache(path, layout).has(0)
    boot.write_text("second\n")
    assert not TeacherCache(path, layout).has(0)


def test_hidden_error_is_a_share_of_the_teachers_mean_square():
    student, teacher = torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 1.0]])
    # Squared error (4 + 0) / 2 = 2; the teacher's mean square (9 + 1) / 2 = 5.
    assert hidden_loss(student, teacher).item() == pytest.approx(2 / 5)


def test_task_loss_is_the_weighted_cross_entropy():
    logits, labels = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    weights = torch.tensor([0.25, 0.75])
    expected = 0.25 * math.log(4 / 3) + 0.75 * math.log(2)
    assert (task_loss(logits, labels) * weights).sum().item() == pytest.approx(expected)
