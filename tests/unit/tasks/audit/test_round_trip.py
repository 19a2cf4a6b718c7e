"""Which answers are unchanged after being written and read, as a whole and in part."""

from made_cards import card_of

from clinprompt.tasks.audit.round_trip import RoundTrip, count_round_trip
from clinprompt.tasks.records import LabelAnswer, Record, Span, SpansAnswer, TextAnswer


def test_mentions_survive_one_by_one():
    """Text does not say that the second "pain" was meant: one mention is found elsewhere."""
    card = card_of("ner", "spans", "entity_f1", labels={"P": "problem"})
    spans = SpansAnswer((Span(5, 9, "P"), Span(10, 15, "P")))
    lost = Record("n1", {"text": "pain pain fever"}, spans)
    kept = Record("n2", {"text": "no fever"}, SpansAnswer((Span(3, 8, "P"),)))
    assert count_round_trip(card, [kept, lost]) == RoundTrip(2, 1, 3, 2, "n1")


def test_labels_survive_whole():
    card = card_of("nli", "label", "accuracy", labels={"1": "yes", "0": "no"})
    records = [Record(f"n{n}", {"text": "x"}, LabelAnswer(str(n))) for n in (0, 1)]
    assert count_round_trip(card, records) == RoundTrip(2, 2, 2, 2)


def test_a_text_with_repeated_blanks_does_not_survive():
    card = card_of("summarization", "text", "rouge_l")
    record = Record("n1", {"text": "x"}, TextAnswer("two  blanks"))
    assert count_round_trip(card, [record]) == RoundTrip(1, 0, 1, 0, "n1")
