"""Mentions that cut words are counted, and offsets in UTF-16 are named where they explain it."""

from clinprompt.tasks.audit.inside_words import inside_words
from clinprompt.tasks.records import LabelAnswer, Record, Span, SpansAnswer

PILL = "Rx \N{PILL} metformin at night"  # metformin is at 5 in characters, at 6 in UTF-16


def record(number, start, end, text=PILL):
    return Record(str(number), {"text": text}, SpansAnswer((Span(start, end, "DRUG"),)))


def test_offsets_in_utf16_are_asked_for_where_they_would_cut_no_word():
    shifted = [record(number, 6, 15) for number in range(20)]
    [line] = inside_words(shifted)
    assert line.startswith(
        "20 of 20 records have mentions that begin or end inside a word; do the offsets count "
        "UTF-16 code units?"
    )
    # Also if most texts have no such character, so that few records show it.
    [line] = inside_words([shifted[0], *(record(n, 0, 4, "Iron") for n in range(1, 99))])
    assert line.startswith("1 of 99 records")
    assert "UTF-16" in line


def test_words_that_are_cut_for_another_reason_are_counted_if_they_are_many():
    cut = [record(number, 1, 4, "Iron is taken") for number in range(2)]
    whole = [record(number, 0, 4, "Iron is taken") for number in range(2, 10)]
    [line] = inside_words([*cut, *whole])
    assert line == (
        "2 of 10 records have mentions that begin or end inside a word; check what the offsets "
        "count"
    )
    assert not [*inside_words([cut[0], *whole])]  # 1 of 9: mentions may well be parts of words


def test_whole_words_other_scripts_and_labels_are_fine():
    records = [
        record(1, 5, 14),
        record(2, 0, 2, "\u963f\u53f8\u5339\u6797"),  # Chinese has no blanks between words
        record(3, 0, 4, "Iron"),
        Record("4", {"text": "a"}, LabelAnswer("x")),
    ]
    assert not [*inside_words(records)]
