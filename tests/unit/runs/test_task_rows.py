from dataclasses import replace

import pytest

from clinprompt.batches.encode import Encoder
from clinprompt.batches.mixture import hold_out
from clinprompt.errors import DataError, SettingError
from clinprompt.runs.examples import max_test_rows
from clinprompt.runs.suite_data import load_apart, load_suite
from clinprompt.runs.task_rows import TaskRows
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import find_card


def limits(**settings):
    data = DataSettings(test_rows=200, **settings)
    names = ("practice-nli-social", "practice-ner-drugs")
    return [max_test_rows(data, find_card(name)) for name in names]


def test_closed_labels_have_their_own_number_of_test_rows():
    assert limits(test_label_rows=300) == [300, 200]


def test_without_it_all_targets_have_the_same_number():
    assert limits() == [200, 200]


def test_validation_rows_are_encoded_once_and_carry_the_number_asked_for(tiny_llama):
    data = DataSettings(train_rows=9, validation_rows=3)
    [source, *_] = load_suite("practice", data, None).sources
    rows = TaskRows(tiny_llama.tokenizer, 4096, data, 0)
    first = rows.validation(source)
    assert {row.task for row in first} == {0}
    rows.tokenizer = None  # nothing can be encoded from here on
    assert rows.validation(source, 2) == tuple(replace(row, task=2) for row in first)
    other = TaskRows(tiny_llama.tokenizer, 4096, data, 0)
    other.take_validation({source.card.name: first})
    other.tokenizer = None
    assert other.validation(source, 2) == rows.validation(source, 2)


def test_all_training_rows_know_their_notes_so_that_whole_notes_can_be_held_out(tiny_llama):
    """Windows of a note have its number; a fifth of the notes can choose the best state."""
    [data] = [
        one
        for one in load_suite("practice", DataSettings(), None).targets
        if one.card.name == "practice-ner-drugs"
    ]
    settings = DataSettings(max_input_tokens=120, train_rows=80)
    rows = TaskRows(tiny_llama.tokenizer, 4096, settings, 0).training(data)
    notes = [row.note for row in rows]
    assert set(notes) == set(range(80))
    assert len(notes) > 80
    kept, held = hold_out(notes, 16, seed=0)
    assert len(held) in range(12, 17)
    assert not {notes[one] for one in kept} & {notes[one] for one in held}


def source_with_last(record_of_first, name="practice-nli-history"):
    """Return a task whose last training record is made of its first one."""
    data = load_apart(find_card(name), None)
    first, *_, last = data.splits["train"]
    changed = replace(record_of_first(first), id=last.id)
    return replace(data, splits={**data.splits, "train": (*data.splits["train"][:-1], changed)})


@pytest.mark.parametrize("is_source", [True, False])
def test_a_usable_task_is_checked_without_encoding_all_rows(tiny_llama, is_source, monkeypatch):
    encoded, encode = [], Encoder.encode
    monkeypatch.setattr(
        Encoder, "encode", lambda *given, **more: encoded.append(1) or encode(*given, **more)
    )
    data = source_with_last(lambda first: first)
    TaskRows(tiny_llama.tokenizer, 1 << 20, DataSettings(), 0).check(data, is_source=is_source)
    assert len(encoded) == 1
    assert len(data.splits["train"]) > 1


@pytest.mark.parametrize("is_source", [True, False])
def test_a_later_record_that_cannot_be_used_is_refused_by_the_check(tiny_llama, is_source):
    rows = TaskRows(tiny_llama.tokenizer, 4096, DataSettings(), 0)
    without = source_with_last(lambda first: replace(first, fields={"other": "x"}))
    with pytest.raises(DataError, match="lacks the field"):
        rows.check(without, is_source=is_source)
    long = source_with_last(
        lambda first: replace(first, options=tuple(one * 900 for one in first.options)),
        "practice-qa-choice",
    )
    with pytest.raises(SettingError, match="longer than the backbone supports"):
        rows.check(long, is_source=is_source)


@pytest.mark.parametrize("is_source", [True, False])
def test_a_task_without_a_usable_row_is_refused_by_the_check(tiny_llama, is_source):
    rows = TaskRows(tiny_llama.tokenizer, 4096, DataSettings(max_target_tokens=2), 0)
    message = "no training row is left" if is_source else "1 example wanted"
    with pytest.raises(DataError, match=message):
        rows.check(source_with_last(lambda first: first), is_source=is_source)
