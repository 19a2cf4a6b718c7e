"""What an answer may be: gold answers are accepted, invented and repeated lines are not."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance.hf import from_tokenizer
from made_cards import card_of
from tiny import byte_tokenizer

from clinprompt.backbone.grammar import LineConstraint, answer_tokenizer
from clinprompt.runs.suite_data import load_suite
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import kind_of, parse_answer, render_answer
from clinprompt.tasks.records import Record, Relation, RelationsAnswer, Span, SpansAnswer

END = 257
DRUGS = card_of("ner", "spans", labels={"drug": "drug"})
TWO_TYPES = card_of("ner", "spans", labels={"drug": "drug", "problem": "problem"})
LINKS = card_of("re", "relations", labels={"dose": "dose"}, setting="end-to-end")


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return answer_tokenizer(tiny_llama, {END})


def constraint(tokenizer, card, text, start=" "):
    return LineConstraint(
        tokenizer, kind_of(card).allowed(card, Record("1", {"text": text})), start=start
    )


def is_allowed(rule, token):
    return bool(rule.allowed()[token // 8] >> token % 8 & 1)


def accepts(rule, text):
    """Return whether each token of a text, then the end, is allowed."""
    for token in byte_tokenizer()(text, add_special_tokens=False)["input_ids"]:
        if not is_allowed(rule, token):
            return False
        rule.accept(token)
    return is_allowed(rule, END)


@pytest.mark.parametrize("start", [" ", ""])
def test_gold_answers_of_the_practice_suite_are_accepted(tokenizer, start):
    suite = load_suite("practice", DataSettings(), None)
    num_listed = num_none = num_long = 0
    for data in (*suite.sources, *suite.targets):
        if kind_of(data.card).listing is None:
            continue
        for record in data.splits["train"][:60]:
            answer = render_answer(data.card, record)
            rule = constraint(tokenizer, data.card, record.text, start)
            assert accepts(rule, start + answer), (data.card.name, answer)
            assert rule.text == answer
            num_listed += answer != "none"
            num_none += answer == "none"
            num_long += "\n" in answer
    assert min(num_listed, num_none, num_long) > 10


NOTE = "Took aspirin 81 mg,\r\n  then  aspirin. NSAID-induced gastritis"


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("none", True),
        ("aspirin", True),
        ("aspirin 81 mg\naspirin", True),
        ("mg, then aspirin", True),  # whitespace runs are one blank
        ("NSAID-induced gastritis\n", False),  # nothing is left
        ("NSAID", True),
        ("aspirin\naspirin", True),  # it occurs twice
        ("aspirin\naspirin\naspirin", False),
        ("aspirin 81 mg\naspirin 81", True),  # nested, at the same place
        ("aspirin 81\naspirin 81 mg", False),  # of two that begin together, the longer comes first
        ("gastritis\naspirin", False),  # not the order of the note
        ("ibuprofen", False),
        ("aspiri", False),
        ("spirin", False),
        ("aspirin ", False),
        ("aspirin\nnone", False),
        ("none\naspirin", False),
        ("", False),
    ],
)
def test_mentions_are_words_of_the_note_in_order_and_once(tokenizer, answer, is_right):
    assert accepts(constraint(tokenizer, DRUGS, NOTE), f" {answer}") == is_right
    assert accepts(constraint(tokenizer, DRUGS, NOTE, ""), answer) == is_right


def test_one_mention_may_have_several_types_in_the_order_of_types(tokenizer):
    note = "cough"
    assert accepts(constraint(tokenizer, TWO_TYPES, note), " drug: cough\nproblem: cough")
    assert not accepts(constraint(tokenizer, TWO_TYPES, note), " problem: cough\ndrug: cough")
    assert not accepts(constraint(tokenizer, TWO_TYPES, note), " test: cough")


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("none", True),
        ("dose: aspirin | 81 mg", True),
        ("dose: aspirin | 81 mg\ndose: aspirin | 81 mg", False),
        ("dose: aspirin | 81 mg\ndose: aspirin | mg", True),
        ("dose: mg | aspirin\ndose: aspirin | mg", False),  # not the order of heads
        (r"dose: a\|b | c\\d", True),
        ("dose: a|b | aspirin", False),
        ("dose: aspirin", False),
        ("route: aspirin | mg", False),
    ],
)
def test_links_are_between_words_of_the_note_and_once(tokenizer, answer, is_right):
    note = "aspirin 81 mg a|b c\\d"
    assert accepts(constraint(tokenizer, LINKS, note), f" {answer}") == is_right


@pytest.mark.parametrize("note", ["", " \r\n", "\u00a0"])
@pytest.mark.parametrize("card", [DRUGS, TWO_TYPES, LINKS])
def test_note_without_words_allows_none_only(tokenizer, card, note):
    rule = constraint(tokenizer, card, note)
    assert [i for i in range(264) if is_allowed(rule, i)] == [ord_of(" ")]
    assert accepts(rule, " none")


def ord_of(letter):
    [token] = byte_tokenizer()(letter, add_special_tokens=False)["input_ids"]
    return token


def test_last_line_that_is_cut_is_dropped_unless_complete(tokenizer):
    rule = constraint(tokenizer, DRUGS, NOTE)
    accepts(rule, " aspirin 81 m")
    assert rule.text == "none"
    rule = constraint(tokenizer, DRUGS, NOTE)
    accepts(rule, " aspirin 81 mg\naspirin")
    assert rule.text == "aspirin 81 mg\naspirin"
    rule = constraint(tokenizer, DRUGS, NOTE)
    accepts(rule, " aspirin 81 mg\naspi")
    assert rule.text == "aspirin 81 mg"


LETTERS = st.text(
    alphabet="aäA1 \t\r\n\"'\\|[](){}<>/.*+?^$&~%:-_#é漢🙂\u0301\u00a0\u2028\x00", max_size=40
)


@given(
    note=LETTERS,
    choices=st.lists(st.integers(0, 10**6), min_size=80, max_size=80),
    card=st.sampled_from([DRUGS, TWO_TYPES, LINKS]),
)
def test_whatever_is_chosen_among_allowed_tokens_is_grounded(tokenizer, note, choices, card):
    rule = constraint(tokenizer, card, note)
    for choice in choices:
        allowed = [i for i in range(264) if is_allowed(rule, i)]
        token = allowed[choice % len(allowed)]
        if token == END:
            break
        rule.accept(token)
    answer = parse_answer(card, Record("1", {"text": note}), rule.text)
    assert isinstance(answer, SpansAnswer | RelationsAnswer)
    assert answer.ungrounded == 0


@st.composite
def annotated(draw):
    """Return a record whose mentions are whole words."""
    words = draw(
        st.lists(
            st.sampled_from(["aspirin", "81", "mg", "(x)", "a|b", "né", "漢"]),
            min_size=1,
            max_size=8,
        )
    )
    text = draw(st.sampled_from([" ", "\r\n", ", "])).join(words)
    starts = [
        i for i in range(len(text)) if not text[i].isspace() and (i == 0 or text[i - 1].isspace())
    ]
    ends = [
        i
        for i in range(1, len(text) + 1)
        if not text[i - 1].isspace() and (i == len(text) or text[i].isspace())
    ]
    pairs = [(s, e) for s in starts for e in ends if s < e]
    return text, draw(
        st.lists(
            st.tuples(st.sampled_from(pairs), st.sampled_from(["drug", "problem"])),
            max_size=6,
            unique=True,
        )
    )


@given(annotated())
def test_every_set_of_whole_word_mentions_is_accepted(tokenizer, given_):
    text, chosen = given_
    spans = tuple(Span(start, end, kind) for (start, end), kind in chosen)
    answer = render_answer(TWO_TYPES, Record("1", {"text": text}, SpansAnswer(spans)))
    assert accepts(constraint(tokenizer, TWO_TYPES, text), f" {answer}")


@given(annotated())
def test_links_between_whole_words_that_text_can_tell_apart_are_accepted(tokenizer, given_):
    text, chosen = given_
    places = [place for place, _ in chosen]
    links = {Relation("dose", Span(*head, ""), Span(*tail, "")) for head, tail in pairwise(places)}
    record = Record("1", {"text": text}, RelationsAnswer(tuple(links)))
    answer = render_answer(LINKS, record)
    if len(parse_answer(LINKS, record, answer).relations) == len(links):
        assert accepts(constraint(tokenizer, LINKS, text), f" {answer}")


@pytest.mark.parametrize("size", [264, 287, 288, 289, 320])
def test_padded_vocabularies_have_equally_many_bits_before_and_at_the_end(size):
    tokenizer = from_tokenizer(byte_tokenizer(), n_vocab=size, eos_token=[END], slices=[])
    rule = constraint(tokenizer, DRUGS, "aspirin")
    num_bytes = len(rule.allowed())
    for token in byte_tokenizer()(" aspirin\n", add_special_tokens=False)["input_ids"]:
        rule.accept(token)
    assert [i for i in range(size) if is_allowed(rule, i)] == [END]  # no mention is left
    assert len(rule.allowed()) == num_bytes == (size + 31) // 32 * 4


def test_a_token_that_is_not_allowed_is_an_error(tokenizer):
    rule = constraint(tokenizer, find_card("practice-ner-drugs"), "Took aspirin.")
    bits = rule.allowed()
    forbidden = next(i for i in range(8 * len(bits)) if not bits[i // 8] >> i % 8 & 1)
    with pytest.raises(AssertionError, match="was not allowed"):
        rule.accept(forbidden)
