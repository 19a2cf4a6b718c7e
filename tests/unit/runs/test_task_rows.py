from dataclasses import replace

from clinprompt.batches.mixture import hold_out
from clinprompt.runs.suite_data import load_suite
from clinprompt.runs.task_rows import TaskRows, max_test_rows
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
