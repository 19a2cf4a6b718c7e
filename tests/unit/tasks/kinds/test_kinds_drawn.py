"""Random answers are parsed back from their text, whatever characters label, text or note have.

``test_formats`` shows each form by example; here are the classes of characters and of answers that
examples forget: marks that join or hide, unusual blanks, signs of the form itself, words that occur
many times, mentions in mentions, words of labels that begin alike.
"""

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from test_kinds import CARDS, NER, NER2, QA, RE, SUM, make_card, record, round_trip

from clinprompt.tasks.kinds import make_example, parse_answer, render_answer
from clinprompt.tasks.records import (
    LabelAnswer,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
    Unparseable,
)

BLANKS = " \t\n\r\v\f\x1c\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u3000"
# Joiners, direction and variation marks, combining accents, case that changes length, private use
# (where the marks of a template lie), control characters, emoji, signs of the forms.
ODD = "\u200b\u200d\u202e\ufe0f\ufeff\u0301\u0130\u0131\u00df\ufb01\ue000\ue001\0\x07\U0001f9ec"
SIGNS = "|\\:.-*"
odd_text = st.text(st.sampled_from(ODD + SIGNS + BLANKS + "aZ0") | st.characters(codec="utf-8"))


@st.composite
def notes(draw):
    """Return a text of numbered words, some of them many times, and the places of the words."""
    # Odd signs and a number in brackets make a word that is no part of another one.
    signs = st.text(st.sampled_from(ODD + SIGNS), max_size=3)
    words = [f"{draw(signs)}({number})" for number in range(draw(st.integers(1, 6)))]
    text, places = "", []
    for word in draw(st.lists(st.sampled_from(words), min_size=1, max_size=12)):
        text += draw(st.text(st.sampled_from(BLANKS), min_size=1, max_size=2))
        places.append((len(text), len(text) + len(word)))
        text += word
    return text, places


@given(notes(), st.data())
@settings(max_examples=100)
@pytest.mark.parametrize("card", [NER, NER2])
def test_every_occurrence_of_a_mention_is_read_back(card, made, data):
    text, places = made
    words = sorted({text[start:end] for start, end in places})
    types = {word: data.draw(st.sampled_from([None, *card.labels])) for word in words}
    spans = tuple(
        Span(start, end, kind) for start, end in places if (kind := types[text[start:end]])
    )
    row = record(text, SpansAnswer(spans))
    assert round_trip(card, row) == row.answer


@given(notes(), st.data())
@settings(max_examples=100)
def test_mentions_in_mentions_are_read_back(made, data):
    text, places = made
    assume(len({text[start:end] for start, end in places}) == len(places))
    at = st.tuples(st.integers(0, len(places) - 1), st.integers(0, len(places) - 1)).map(sorted)
    chosen = data.draw(st.sets(at.map(tuple), max_size=6))
    kinds = st.sampled_from(list(NER2.labels))
    spans = [Span(places[i][0], places[j][1], data.draw(kinds)) for i, j in sorted(chosen)]
    ordered = tuple(sorted(spans, key=lambda span: (span.start, -span.end)))
    row = record(text, SpansAnswer(ordered))
    assert round_trip(NER2, row) == row.answer


@given(notes(), st.data())
@settings(max_examples=100)
def test_links_of_overlapping_and_equal_ends_are_read_back(made, data):
    text, places = made
    assume(len({text[start:end] for start, end in places}) == len(places))
    at = st.tuples(st.integers(0, len(places) - 1), st.integers(0, len(places) - 1)).map(sorted)
    ends = at.map(lambda pair: Span(places[pair[0]][0], places[pair[1]][1], ""))
    drawn = data.draw(st.sets(st.tuples(ends, ends, st.sampled_from(list(RE.labels))), max_size=6))
    links = [Relation(kind, head, tail) for head, tail, kind in drawn]
    row = record(text, RelationsAnswer(tuple(links)))
    came_back = round_trip(RE, row)
    assert set(came_back.relations) == set(links)
    assert came_back.ungrounded == 0


label_words = st.lists(
    (odd_text | st.sampled_from(["no", "no.", "not", "not stated", "not-stated"])).filter(
        lambda word: word.strip()
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda word: " ".join(word.split()).casefold(),
)


@given(label_words)
@example(["ßßß a", "ssssss"])  # the shorter as written is the longer once it is folded
@settings(max_examples=200)
def test_labels_are_read_back_whatever_their_words(words):
    card = make_card("nli", "label", {str(number): word for number, word in enumerate(words)})
    for label in card.labels:
        row = record("x", LabelAnswer(label))
        assert round_trip(card, row) == row.answer


@given(odd_text.map(lambda text: " ".join(text.split())).filter(bool))
@settings(max_examples=200)
def test_odd_texts_are_read_back(text):
    row = record("x", TextAnswer(text))
    assert round_trip(SUM, row) == row.answer


@given(st.lists(odd_text | st.sampled_from(["A", "(b)", "B."]), min_size=1, max_size=26), st.data())
@settings(max_examples=200)
def test_letters_are_read_back_whatever_the_options(options, data):
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[data.draw(st.integers(0, len(options) - 1))]
    row = record("x", LabelAnswer(letter), tuple(options))
    assert round_trip(QA, row) == row.answer


def test_types_whose_words_begin_the_same_are_distinguished():
    card = make_card("ner", "spans", {"S": "status", "E": "status: employed"})
    row = record("works a lot", SpansAnswer((Span(0, 5, "E"), Span(6, 11, "S"))))
    assert render_answer(card, row) == "status: employed: works\nstatus: a lot"
    assert round_trip(card, row) == row.answer


shaped = st.lists(
    st.sampled_from([*"\n\\|:(.", " ", "drug", "DRUG:", "dose:", "none", "(A)", "yes", "1.", "- "])
    | odd_text
).map("".join)


@given(odd_text, shaped, st.lists(odd_text, max_size=26))
@settings(max_examples=150)
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.type)
def test_no_output_on_any_record_makes_a_parser_raise(card, text, output, options):
    row = record(text, options=tuple(options))
    answer = parse_answer(card, row, output)
    if not isinstance(answer, Unparseable):
        render_answer(card, record(text, answer, tuple(options)))  # what was read can be written


@given(odd_text)
@settings(max_examples=100)
def test_the_note_is_in_the_input_unchanged(text):
    assert make_example(NER, record(text)).pieces[1] == text
