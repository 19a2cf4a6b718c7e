"""Which rows train what: never one whose answer had to be cut."""

import pytest
from tiny import save_tiny
from transformers import AutoTokenizer

from clinprompt.batches.encode import Encoder
from clinprompt.errors import DataError
from clinprompt.recipes.suite import few_rows, training_rows
from clinprompt.tasks.card import find_card
from clinprompt.tasks.example import LabelAnswer, Record, TextAnswer
from clinprompt.tasks.load import TaskData

LENGTHS = (3, 9, 30, 4, 31)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokenizer with one token a byte."""
    folder = save_tiny(tmp_path_factory.mktemp("model") / "tiny", "llama")
    return AutoTokenizer.from_pretrained(folder)


def summaries(lengths=LENGTHS):
    rows = tuple(
        Record(str(i), {"text": f"note {i}"}, TextAnswer("s" * n)) for i, n in enumerate(lengths)
    )
    return TaskData(find_card("practice-sum-plan"), {"train": rows, "validation": (), "test": ()})


def test_rows_with_too_long_answers_are_left_out_of_training(tokenizer):
    """A limit of 12 holds a blank, up to ten letters and end-of-text: lengths 3, 9 and 4."""
    rows = training_rows(Encoder(tokenizer, 100, 12), summaries(), limit=10, seed=0)
    assert sorted(len(row.target_ids) for row in rows) == [5, 6, 11]
    assert not any(row.target_was_cut for row in rows)


def test_no_row_left_is_named(tokenizer):
    with pytest.raises(DataError, match="practice-sum-plan: no training row is left"):
        training_rows(Encoder(tokenizer, 100, 12), summaries((30, 40)), limit=10, seed=0)


def test_shots_come_from_rows_whose_answer_fits(tokenizer):
    encoder = Encoder(tokenizer, 100, 12)
    rows = few_rows(encoder, summaries(), 3, seed=0)
    assert sorted(len(row.target_ids) for row in rows) == [5, 6, 11]
    with pytest.raises(DataError, match="4 examples wanted, but only 3"):
        few_rows(encoder, summaries(), 4, seed=0)


def test_shots_of_closed_labels_are_balanced(tokenizer):
    labels = ["entailment"] * 30 + ["not_entailment"] * 3
    rows = tuple(
        Record(str(i), {"text": "note", "statement": "so"}, LabelAnswer(label))
        for i, label in enumerate(labels)
    )
    card = find_card("practice-nli-social")
    data = TaskData(card, {"train": rows, "validation": (), "test": ()})
    chosen = few_rows(Encoder(tokenizer, 200, 12), data, 6, seed=1)
    yes = sum(row.target_ids == Encoder(tokenizer, 200, 12).encode_target("yes") for row in chosen)
    assert yes == 3
