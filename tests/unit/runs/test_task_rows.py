from dataclasses import replace

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
