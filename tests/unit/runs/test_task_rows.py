from clinprompt.runs.task_rows import max_test_rows
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
