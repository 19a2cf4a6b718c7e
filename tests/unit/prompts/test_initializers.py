"""Initial values of a prompt."""

import pytest
import torch

from clinprompt.errors import SettingError
from clinprompt.prompts.initializers import from_text, from_vocabulary, mean_of_teachers

TABLE = torch.arange(20.0).reshape(10, 2)


def test_vocabulary_start_draws_different_tokens_by_seed():
    def draw(seed):
        return from_vocabulary(TABLE, length=4, generator=torch.Generator().manual_seed(seed))

    rows = {tuple(row) for row in draw(0).tolist()}
    assert len(rows) == 4
    assert rows <= {tuple(row) for row in TABLE.tolist()}
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_a_prompt_longer_than_the_vocabulary_is_refused():
    with pytest.raises(SettingError, match=r"prompt\.length"):
        from_vocabulary(TABLE, length=11, generator=torch.Generator())


def test_text_start_repeats_or_cuts_the_text():
    assert from_text(TABLE, [1, 3], length=3).tolist() == [[2.0, 3.0], [6.0, 7.0], [2.0, 3.0]]
    assert from_text(TABLE, [1, 3], length=1).tolist() == [[2.0, 3.0]]


def test_text_start_without_text_is_refused():
    with pytest.raises(SettingError, match=r"prompt\.text is empty"):
        from_text(TABLE, [], length=3)


def test_mean_of_teachers_is_taken_position_by_position():
    teachers = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 6.0]])]
    assert mean_of_teachers(teachers).tolist() == [[2.0, 4.0]]


def test_a_start_does_not_share_memory_with_the_embeddings():
    from_text(TABLE, [0], length=1).add_(5)
    assert TABLE[0].tolist() == [0.0, 1.0]
