"""The length of answers relative to their texts, worked by hand."""

from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds.density import answer_density
from clinprompt.tasks.load import load_task
from clinprompt.tasks.records import Record, Span, SpansAnswer

CARD = find_card("practice-ner-drugs")


def record_of(length, mentioned):
    """Return a text whose first ``mentioned`` letters are a drug."""
    return Record(str(length), {"text": "x" * length}, SpansAnswer((Span(0, mentioned, "drug"),)))


def test_the_densest_twentieth_of_all_text_does_not_count():
    """96 / 960 = 0.1; the other text is a drug from end to end, but only 40 of 1,000 letters."""
    assert answer_density(CARD, [record_of(960, 96), record_of(40, 40)]) == 0.1
    assert answer_density(CARD, [record_of(940, 94), record_of(60, 60)]) == 1.0


def test_records_without_text_or_answer_do_not_count():
    unanswered = Record("1", {"text": "none of it is known"})
    assert answer_density(CARD, [unanswered, record_of(10, 5)]) == 0.5
    assert answer_density(CARD, [unanswered, Record("2", {"text": ""}, SpansAnswer(()))]) == 0.0


def test_a_task_is_loaded_with_its_density_unless_its_card_states_one():
    assert 0 < load_task(CARD, None).card.density < 1
    stated = CARD.model_copy(update={"density": 2.5})
    assert load_task(stated, None).card.density == 2.5
    assert load_task(find_card("practice-sum-plan"), None).card.density is None
