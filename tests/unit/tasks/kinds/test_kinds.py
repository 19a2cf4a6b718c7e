"""Rendered answers are parsed back the same; no model output makes a parser raise."""

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinprompt.errors import DataError
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import (
    answer_to_json,
    instruction_of,
    make_example,
    parse_answer,
    render_answer,
)
from clinprompt.tasks.kinds.free_text import rouge_l
from clinprompt.tasks.records import (
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
    Unparseable,
)

METRICS = {"spans": "entity_f1", "relations": "relation_f1", "text": "rouge_l"}


def make_card(type_, answer, words=(), template="{{ text }}\nAnswer:", cut="text"):
    return TaskCard.model_validate(
        {
            "name": "made",
            "type": type_,
            "answer": answer,
            "title": "made for tests",
            "source": {"repository": "clinprompt", "license": "Apache-2.0"},
            "reader": {"name": "practice", "task": "ner-drugs"},
            "labels": dict(words),
            "wording": {"version": 1, "template": template, "cut": cut, "instruction": " Do it. "},
            "metric": METRICS.get(answer, "accuracy"),
            "setting": "end-to-end" if type_ == "re" else "",
        }
    )


NER = make_card("ner", "spans", {"DRUG": "drug"})
NER2 = make_card("ner", "spans", {"DRUG": "drug", "DIS": "side effect"})
RE = make_card("re", "relations", {"dose": "dose", "freq": "how often"})
NLI = make_card("nli", "label", {"e": "yes", "c": "no", "n": "not stated", "x": "not"})
QA = make_card("qa", "choice")
SUM = make_card("summarization", "text")
CARDS = (NER, NER2, RE, NLI, QA, SUM)


def record(text="", answer=None, options=(), **fields):
    return Record("r1", {"text": text, **fields}, answer, options)


def round_trip(card, row):
    return parse_answer(card, row, render_answer(card, row))


# Words that hold no blank and are not parts of each other, so that the form can carry them.
words = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=6),
    min_size=4,
    max_size=10,
    unique_by=str.casefold,
).filter(
    lambda drawn: (
        not any(a in b for a in map(fold, drawn) for b in map(fold, drawn) if a != b)
        and "none" not in "".join(map(fold, drawn))
    )
)
blanks = st.sampled_from([" ", "\n", " \t ", "\r\n"])


def fold(word):
    return word.casefold().lower()


@st.composite
def spaced(draw):
    """Return a text and the places of its words."""
    text, places = "", []
    for word in draw(words):
        text += draw(blanks)
        places.append((len(text), len(text) + len(word)))
        text += word
    return text, places


@given(spaced(), st.data())
@settings(max_examples=100)
@pytest.mark.parametrize("card", [NER, NER2])
def test_spans_are_read_back_the_same(card, made, data):
    text, places = made
    firsts = data.draw(st.sets(st.integers(0, len(places) - 2)))
    spans = tuple(
        # Some mentions are two words long, nested in nothing but next to others.
        Span(places[at][0], places[at + data.draw(st.integers(0, 1))][1], kind)
        for at in sorted(firsts)
        for kind in [data.draw(st.sampled_from(list(card.labels)))]
    )
    row = record(text, SpansAnswer(spans))
    assert round_trip(card, row) == row.answer


@given(spaced(), st.data())
@settings(max_examples=100)
def test_relations_are_read_back_the_same(made, data):
    text, places = made
    at = st.integers(0, len(places) - 1)
    pairs = data.draw(
        st.sets(st.tuples(at, at, st.sampled_from(list(RE.labels))).filter(lambda p: p[0] != p[1]))
    )
    links = tuple(
        Relation(kind, Span(*places[head], ""), Span(*places[tail], ""))
        for head, tail, kind in sorted(pairs)
    )
    row = record(text, RelationsAnswer(links))
    assert round_trip(RE, row) == row.answer


@pytest.mark.parametrize("label", NLI.labels)
def test_labels_are_read_back_the_same(label):
    row = record("x", LabelAnswer(label))
    assert round_trip(NLI, row) == row.answer


@given(st.lists(st.text(), min_size=1, max_size=26), st.data())
def test_choices_are_read_back_the_same(options, data):
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[data.draw(st.integers(0, len(options) - 1))]
    row = record("x", LabelAnswer(letter), tuple(options))
    assert round_trip(QA, row) == row.answer


@given(st.text().map(lambda text: " ".join(text.split())).filter(bool))
def test_texts_are_read_back_the_same(text):
    row = record("x", TextAnswer(text))
    assert round_trip(SUM, row) == row.answer


shaped = st.lists(
    st.sampled_from(["drug", "dose", ":", " | ", "\\", "\n", "none", "a", "(B)", "yes", "İ", "ß"])
).map("".join)


@given(st.text(), st.text() | shaped)
@settings(max_examples=200)
@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.type)
def test_no_string_makes_a_parser_raise(card, text, output):
    parse_answer(card, record(text, options=("a", "b")), output)


@pytest.mark.parametrize("card", [NER, NER2, RE])
@pytest.mark.parametrize("output", ["", " \n "])
def test_blank_output_is_unparseable(card, output):
    assert parse_answer(card, record("a"), output) == Unparseable(output)


@pytest.mark.parametrize("output", ["none", " None.\n"])
def test_none_is_the_empty_answer(output):
    assert parse_answer(NER, record("a"), output) == SpansAnswer(())
    assert parse_answer(RE, record("a"), output) == RelationsAnswer(())


def test_mentions_not_in_the_text_are_kept_as_lines_and_counted():
    answer = parse_answer(NER, record("aspirin daily"), "aspirin\naspirin\n- heparin  5\n")
    assert answer == SpansAnswer((Span(0, 7, "DRUG"),), ("aspirin", "- heparin 5"))
    assert answer.ungrounded == 2
    assert answer_to_json(NER, record("aspirin daily"), answer)["ungrounded"] == [
        "aspirin",
        "- heparin 5",
    ]


def test_unreadable_lines_count_as_ungrounded_where_another_can_be_read():
    output = "drug: aspirin\nplace: home\nwell"
    answer = parse_answer(NER2, record("aspirin"), output)
    assert answer == SpansAnswer((Span(0, 7, "DRUG"),), ("place: home", "well"))
    assert parse_answer(NER2, record("aspirin"), "place: home") == Unparseable("place: home")


def test_mentions_are_in_order_with_the_longer_first():
    spans = (Span(6, 10, "DIS"), Span(0, 5, "DIS"), Span(0, 10, "DIS"))
    row = record("chest\npain", SpansAnswer(spans))
    expected = "side effect: chest pain\nside effect: chest\nside effect: pain"
    assert render_answer(NER2, row) == expected
    assert round_trip(NER2, row) == SpansAnswer((spans[2], spans[1], spans[0]))


def test_bars_and_backslashes_inside_mentions_survive():
    text = r"a | b\ 5|6 mg"
    links = (Relation("dose", Span(0, 6, ""), Span(7, 13, "")),)
    row = record(text, RelationsAnswer(links))
    assert render_answer(RE, row) == r"dose: a \| b\\ | 5\|6 mg"
    assert round_trip(RE, row) == row.answer


def test_link_without_bar_counts_as_ungrounded():
    answer = parse_answer(RE, record("aspirin 5 mg"), "dose: aspirin | 5 mg\ndose: aspirin 5 mg")
    assert answer == RelationsAnswer(
        (Relation("dose", Span(0, 7, ""), Span(8, 12, "")),), ("dose: aspirin 5 mg",)
    )
    assert answer.ungrounded == 1
    assert answer_to_json(RE, record("aspirin 5 mg"), answer)["ungrounded"] == [
        "dose: aspirin 5 mg"
    ]


@pytest.mark.parametrize(
    ("output", "label"),
    [
        ("Yes.", "e"),
        ("no, because", "c"),
        ("not  stated here", "n"),
        ("not at all", "x"),
        ("YES\nthe note", "e"),
    ],
)
def test_label_is_read_from_the_first_words(output, label):
    assert parse_answer(NLI, record("x"), output) == LabelAnswer(label)


@pytest.mark.parametrize("output", ["nothing", "no-one", "maybe yes", ""])
def test_label_is_not_read_from_parts_of_words(output):
    assert parse_answer(NLI, record("x"), output) == Unparseable(output)


@pytest.mark.parametrize("output", ["B", "b", "B.", "(B)", "b) gout", "B. Gout", " gout ", "B: x"])
def test_choice_is_read_in_its_usual_forms(output):
    assert parse_answer(QA, record("x", options=("flu", "gout")), output) == LabelAnswer("B")


@pytest.mark.parametrize("output", ["C", "(c)", "a fever", "AB", "", "goutier"])
def test_choice_beyond_the_options_is_unparseable(output):
    assert parse_answer(QA, record("x", options=("flu", "gout")), output) == Unparseable(output)


def test_example_keeps_the_body_untouched_and_offers_choices():
    card = make_card("nli", "label", {"e": "yes", "c": "no"}, "\nA {{ text }} B {{ claim }}:\n")
    row = record(" x\n y ", LabelAnswer("c"), claim="z")
    example = make_example(card, row)
    assert example.pieces == ("A ", " x\n y ", " B z:")
    assert (example.target, example.choices) == ("no", ("yes", "no"))
    assert example.instruction == "Do it."


def test_fields_of_a_record_do_not_replace_the_words_of_the_card():
    card = make_card("nli", "label", {"e": "yes"}, "{{ text }} {{ labels }}, {{ either }}")
    row = record("x", LabelAnswer("e"), labels="anything", either="anything")
    assert make_example(card, row).input == "x yes, yes"


def test_an_example_has_the_paraphrase_that_is_asked_for():
    wording = NLI.wording.model_copy(update={"paraphrases": ("Say {{ either }}. ", "{{ labels }}")})
    card = NLI.model_copy(update={"wording": wording})
    row = record("x", LabelAnswer("c"), claim="z")
    assert [make_example(card, row, paraphrase=n).instruction for n in range(3)] == [
        "Do it.",
        "Say yes, no, not stated or not.",
        "yes, no, not stated, not",
    ]


def test_example_shows_options_and_offers_their_letters():
    template = "{{ text }}{% for letter, option in options %} {{ letter }}={{ option }}{% endfor %}"
    row = record("x", None, ("flu", "gout"))
    example = make_example(make_card("qa", "choice", template=template), row)
    assert example.input == "x A=flu B=gout"
    assert example.choices == ("A", "B")
    assert example.target is None


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ text }} {{ text }}", "'text' .* 2 times"),
        ("no field", "'text' .* 0 times"),
        ("{{ text | upper }}", "'text' .* 0 times"),
        (
            "{{ text }} {{ missing }}",
            "'missing' is undefined; it may name either, labels, options, text; correct it, or add",
        ),
        ("{{ text", r"made: wording.template: .* \(line 1\)$"),
    ],
)
def test_wording_that_does_not_fit_is_named(template, complaint):
    with pytest.raises(DataError, match=complaint):
        make_example(make_card("ner", "spans", {"d": "drug"}, template), record("secret"))


def test_an_instruction_that_is_no_template_is_named():
    wording = NLI.wording.model_copy(update={"instruction": "Write {{ one }}."})
    card = NLI.model_copy(update={"wording": wording})
    with pytest.raises(DataError, match=r"wording\.instruction: 'one' is undefined"):
        instruction_of(card)
    wording = NLI.wording.model_copy(update={"paraphrases": ("Fine.", "Write {{ two }}.")})
    card = NLI.model_copy(update={"wording": wording})
    with pytest.raises(DataError, match=r"wording\.paraphrases\[1\]: 'two' is undefined"):
        instruction_of(card, 2)


def test_missing_cut_field_is_named_with_the_fields_that_the_record_has():
    with pytest.raises(DataError, match=r"lacks the field 'note' .*; it has 'text'; rename or add"):
        make_example(make_card("summarization", "text", cut="note"), record("x"))


def test_a_wrong_template_is_named_by_the_file_of_its_card():
    card = make_card("ner", "spans", {"d": "drug"}, "{{ note }}")
    card = card.model_copy(update={"path": Path("my-task/card.toml")})
    with pytest.raises(DataError, match=r"^my-task/card\.toml: wording\.template: 'note' is"):
        make_example(card, record("x"))
    wording = NLI.wording.model_copy(update={"instruction": "Write {{ label }}."})
    card = NLI.model_copy(update={"wording": wording, "path": Path("my-task/card.toml")})
    words = r"^my-task/card\.toml: wording\.instruction: .* name either, labels; correct it$"
    with pytest.raises(DataError, match=words):
        instruction_of(card)


@pytest.mark.parametrize(
    ("card", "answer"),
    [
        (NER, None),
        (NER, TextAnswer("secret")),
        (NER, SpansAnswer((Span(0, 1, "OTHER"),))),
        (NLI, LabelAnswer("other")),
        (QA, LabelAnswer("C")),
    ],
)
def test_answer_that_does_not_fit_the_card_is_named(card, answer):
    with pytest.raises(DataError, match="made") as caught:
        render_answer(card, record("secret", answer, ("a", "b")))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("card", [NER, RE])
@pytest.mark.parametrize(
    "mentions",
    [["a"] * 2500, ["a" * k for k in range(1, 100)], [" ".join("a" * k) for k in range(1, 70)]],
)
@pytest.mark.parametrize("text", ["a" * 5000, "a " * 2500])
def test_long_repetitive_output_is_read_quickly(card, mentions, text):
    lines = [f"dose: {mention} | {mention}" for mention in mentions] if card is RE else mentions
    start = time.perf_counter()
    parse_answer(card, record(text), "\n".join(lines)[:5000])
    assert time.perf_counter() - start < 60  # no stopwatch: a rescan of every pair takes hours


def test_list_marks_before_a_mention_are_ignored():
    answer = parse_answer(NER, record("aspirin, 2. heparin"), "- aspirin\n2. heparin")
    assert answer == SpansAnswer((Span(0, 7, "DRUG"), Span(9, 19, "DRUG")))
    typed = parse_answer(NER2, record("aspirin"), "1. drug: aspirin")
    assert typed == SpansAnswer((Span(0, 7, "DRUG"),))


@pytest.mark.parametrize(
    ("said", "gold", "expected"),
    [
        ("Боль в груди", "Боль в груди", 1),
        ("Боль в ноге", "Боль в груди", 2 / 3),
        ("胸痛", "胸痛两天", 2 * 2 / 6),
        ("Боль", "CT normal", 0),
        ("pains of the chest", "pain in the chest", 3 / 4),  # stemmed, as always
        ("pain (CT)", "pain — CT", 1),
        ("", "—", 0),
    ],
)
def test_rouge_l_counts_the_words_of_every_script(said, gold, expected):
    assert rouge_l(said, gold) == pytest.approx(expected)
