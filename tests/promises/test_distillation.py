"""The distillation loss is zero when the teacher is the student; padding never counts."""

import math

import pytest
import torch
from tiny import random_prompts, random_rows

from clinprompt.backbone.shared_prefix import accumulate_gradients, read_prompts, target_states
from clinprompt.batches.encode import collate
from clinprompt.config import DistillSettings
from clinprompt.recipes.distill import distillation_objective
from clinprompt.training.losses import hidden_loss, logits_loss, task_loss

SETTINGS = DistillSettings(temperature=2.0, logits_weight=0.5, hidden_weight=0.25)
ROWS = random_rows([(6, 3), (15, 1), (3, 5), (9, 2)], tasks=(0, 1))
ONE = torch.ones(1)


def losses(backbone, student, teacher, rows):
    """Return the whole loss of a step, its terms and the student's gradient."""
    student = student.clone().requires_grad_()
    with torch.no_grad():
        taught = read_prompts(backbone.model, teacher)
    terms = {}
    loss = distillation_objective(backbone, taught, SETTINGS)(len(rows), terms)
    batches = [collate(rows, pad_id=backbone.pad_id)]
    whole = accumulate_gradients(backbone.model, student, (0, 1), batches, loss)
    return whole, terms, student.grad


def test_the_loss_is_zero_when_the_teacher_is_the_student(backbone):
    prompts = random_prompts(2, 4)
    whole, terms, _ = losses(backbone, prompts, prompts, ROWS)
    assert terms["logits"] == pytest.approx(0, abs=1e-9)
    assert terms["hidden"] == pytest.approx(0, abs=1e-9)
    assert whole == pytest.approx(terms["task"])


def test_another_teacher_costs_something(backbone):
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
    """A row's part of the loss, alone and beside a longer one: each row alone weighs 1, not 1/2."""
    student, teacher = random_prompts(2, 4), random_prompts(2, 4, seed=1)
    _, together, gradient = losses(backbone, student, teacher, ROWS)
    alone = [losses(backbone, student, teacher, [row]) for row in ROWS]
    for name, value in together.items():
        mean = sum(terms[name] for _, terms, _ in alone) / len(ROWS)
        assert value == pytest.approx(mean, rel=1e-4), name
    mean_gradient = torch.stack([own for _, _, own in alone]).mean(dim=0)
    assert (gradient - mean_gradient).norm() / gradient.norm() < 1e-4


def test_target_states_hold_one_entry_a_target_token(tiny_llama):
    states = target_states(tiny_llama.model, collate(ROWS, pad_id=tiny_llama.pad_id), None)
    assert states.labels.tolist() == [token for row in ROWS for token in row.target_ids]
    assert states.rows.tolist() == [i for i, row in enumerate(ROWS) for _ in row.target_ids]


def test_divergence_equals_a_hand_calculation_at_temperature_2():
    teacher, student = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    # At τ = 2 the teacher's logits are (ln 3, 0): p = (3/4, 1/4); the student's q = (1/2, 1/2).
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    found = logits_loss(student, teacher, ONE, temperature=2.0)
    assert found.item() == pytest.approx(4 * divergence)


def test_divergence_runs_from_teacher_to_student_not_back():
    certain, even = torch.tensor([[math.log(9), 0.0]]), torch.zeros(1, 2)
    forth = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    back = 0.5 * math.log(5 / 9) + 0.5 * math.log(5)
    assert logits_loss(even, certain, ONE, temperature=1.0).item() == pytest.approx(forth)
    assert logits_loss(certain, even, ONE, temperature=1.0).item() == pytest.approx(back)


def test_hidden_error_is_a_share_of_the_teachers_mean_square():
    student, teacher = torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0, 1.0]])
    # Squared error (4 + 0) / 2 = 2; the teacher's mean square (9 + 1) / 2 = 5.
    assert hidden_loss(student, teacher, ONE).item() == pytest.approx(2 / 5)


def test_task_loss_is_the_weighted_cross_entropy():
    logits, labels = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    weights = torch.tensor([0.25, 0.75])
    expected = 0.25 * math.log(4 / 3) + 0.75 * math.log(2)
    assert task_loss(logits, labels, weights).item() == pytest.approx(expected)
