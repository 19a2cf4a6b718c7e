"""The terms of the distillation loss, by hand on two rows and a vocabulary of two tokens."""

import math

import pytest
import torch

from clinprompt.backbone.bank import Bank, TargetStates
from clinprompt.batches.encode import Row, collate
from clinprompt.settings.groups import DistillSettings
from clinprompt.training.distillation import Teachers, distillation_loss
from clinprompt.training.losses import TeacherOutputs
from clinprompt.training.teacher_cache import CacheLayout, TeacherCache

SETTINGS = DistillSettings(temperature=2.0, logits_weight=0.5, hidden_weight=0.25, top_k=2)
# Both rows: the teacher's probabilities at temperature 2 are 3/4 and 1/4.
OUTPUTS = TeacherOutputs(
    likely=torch.tensor([[0, 1], [0, 1]]),
    log_likely=torch.tensor([[0.75, 0.25], [0.75, 0.25]]).log(),
    log_rest=torch.full((2,), float("-inf")),
    hidden=torch.tensor([[3.0, 1.0], [2.0, 0.0]]),
)
# At temperature 2 the student has probabilities (1/2, 1/2) and (3/4, 1/4).
STUDENT = TargetStates(
    hidden=torch.tensor([[1.0, 1.0], [2.0, 0.0]]),
    logits=torch.tensor([[0.0, 0.0], [2 * math.log(3), 0.0]]),
    labels=torch.tensor([0, 1]),
    rows=torch.tensor([0, 1]),
)


@pytest.fixture
def loss(tiny_llama, tmp_path):
    """The loss under teachers whose outputs are all in the cache."""
    cache = TeacherCache(tmp_path / "teachers.cache", CacheLayout((1, 1), 2, 2, "made", 2.0))
    cache.add([0, 1], OUTPUTS)
    return distillation_loss(Teachers(tiny_llama, Bank(), SETTINGS, cache))


def terms_of(loss):
    batch = collate([Row(0, (1,), (0,), number=0), Row(0, (1,), (1,), number=1)], pad_id=0)
    return {name: values.tolist() for name, values in loss.terms(batch, STUDENT).items()}


def test_task_term_is_the_cross_entropy_of_each_token(loss):
    # Without temperature: probability 1/2 of token 0, and 1 / (9 + 1) of token 1.
    assert terms_of(loss)["task"] == pytest.approx([math.log(2), math.log(10)])


def test_logits_term_is_the_divergence_times_the_squared_temperature(loss):
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    # The cache rounds to float16. In the second row, student and teacher agree.
    assert terms_of(loss)["logits"] == pytest.approx([4 * divergence, 0], rel=2e-3, abs=2e-3)


def test_hidden_term_is_the_error_as_a_share_of_the_teachers_mean_square(loss):
    # First row: error (4 + 0) / 2 = 2; mean square of the teacher (9 + 1) / 2 = 5.
    assert terms_of(loss)["hidden"] == pytest.approx([2 / 5, 0])


def test_weights_are_those_of_the_settings(loss):
    assert loss.weights == {"task": 1.0, "logits": 0.5, "hidden": 0.25}
