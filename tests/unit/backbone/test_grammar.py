"""What an answer may be: gold answers are accepted, invented and repeated lines are not.

llguidance, given the same lines as grammars, is the independent reference.
"""

import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llguidance_reference import Reference, llguidance_tokenizer
from made_cards import card_of
from tiny import byte_tokenizer

from clinprompt.backbone.answer_tokens import AnswerTokens, answer_tokens
from clinprompt.backbone.constraint import MIN_SHARE, constrain
from clinprompt.backbone.grammar import LineConstraint
from clinprompt.batches.encode import make_encoder
from clinprompt.runs.suite_data import load_suite
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import kind_of, parse_answer, render_answer
from clinprompt.tasks.records import Record, Relation, RelationsAnswer, Span, SpansAnswer

END = 257
REFERENCE_TOKENIZER = llguidance_tokenizer(byte_tokenizer(), 264, END)
ANY = {"symbols": True}  # mentions may be symbols alone; those of these cards may overlap as well
DRUGS = card_of("ner", "spans", labels={"drug": "drug"}, **ANY)
TWO_TYPES = card_of("ner", "spans", labels={"drug": "drug", "problem": "problem"}, **ANY)
LINKS = card_of("re", "relations", labels={"dose": "dose"}, setting="end-to-end", **ANY)
WORDS = TWO_TYPES.model_copy(update={"symbols": False})
WORDS_IN_LINKS = LINKS.model_copy(update={"symbols": False})
APART = DRUGS.model_copy(update={"symbols": None, "overlap": False})
CARDS = (DRUGS, TWO_TYPES, LINKS, WORDS, WORDS_IN_LINKS, APART)


@pytest.fixture(scope="module")
def tokens(tiny_llama):
    return answer_tokens(tiny_llama, {END})


def constraint(tokens, card, text, start=" "):
    return LineConstraint(
        tokens, kind_of(card).allowed(card, Record("1", {"text": text})), start=start
    )


def is_allowed(rule, token):
    return token in rule.allowed()


def accepts(rule, text):
    """Return whether each token of a text, then the end, is allowed."""
    for token in byte_tokenizer()(text, add_special_tokens=False)["input_ids"]:
        if not is_allowed(rule, token):
            return False
        rule.accept(token)
    return is_allowed(rule, END)


@pytest.mark.parametrize("start", [" ", ""])
def test_gold_answers_of_the_practice_suite_are_accepted(tokens, start):
    suite = load_suite("practice", DataSettings(), None)
    num_listed = num_none = num_long = 0
    for data in (*suite.sources, *suite.targets):
        if kind_of(data.card).listing is None:
            continue
        for record in data.splits["train"][:60]:
            answer = render_answer(data.card, record)
            rule = constraint(tokens, data.card, record.text, start)
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
        ("NSAID-induced gastritis\n", False),  # a line that does not begin
        ("NSAID", True),
        ("aspirin\naspirin", True),  # it occurs twice
        ("aspirin\naspirin\naspirin", False),
        ("aspirin 81 mg\naspirin 81", True),  # nested, at the same place
        ("aspirin 81\naspirin 81 mg", True),  # in any order
        ("gastritis\naspirin", True),
        ("ibuprofen", False),
        ("aspiri", False),
        ("spirin", False),
        ("aspirin ", False),
        ("aspirin\nnone", False),
        ("none\naspirin", False),
        ("", False),
    ],
)
def test_mentions_are_words_of_the_note_as_often_as_they_occur(tokens, answer, is_right):
    assert accepts(constraint(tokens, DRUGS, NOTE), f" {answer}") == is_right
    assert accepts(constraint(tokens, DRUGS, NOTE, ""), answer) == is_right


def test_one_mention_may_have_several_types(tokens):
    note = "cough"
    assert accepts(constraint(tokens, TWO_TYPES, note), " drug: cough\nproblem: cough")
    assert accepts(constraint(tokens, TWO_TYPES, note), " problem: cough\ndrug: cough")
    assert not accepts(constraint(tokens, TWO_TYPES, note), " drug: cough\ndrug: cough")
    assert not accepts(constraint(tokens, TWO_TYPES, note), " test: cough")


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("drug: (81", True),
        ("drug: ( 81 ).", True),
        ("drug: (", False),
        ("drug: ).", False),
        ("drug: .\ndrug: é", False),
        ("drug: é", True),
        ("drug: ( 81\ndrug: 81 )", True),
        ("drug: ( 81\ndrug: (", False),
        ("drug: +", False),
    ],
)
def test_mention_has_a_letter_or_digit_unless_the_task_has_symbols(tokens, answer, is_right):
    note = "(81 ( 81 ). é +"
    assert accepts(constraint(tokens, WORDS, note), f" {answer}") == is_right
    assert accepts(constraint(tokens, TWO_TYPES, note), f" {answer}")
    link = answer.split("\n")[0].replace("drug", "dose")
    if len(answer.split("\n")) == 1:
        assert accepts(constraint(tokens, WORDS_IN_LINKS, note), f" {link} | é") == is_right
        assert accepts(constraint(tokens, LINKS, note), f" {link} | é")


@pytest.mark.parametrize(
    ("answer", "may_be_apart"),
    [
        ("a b\nc", True),
        ("a b\nb", False),
        ("a b\na", True),  # the second "a"
        ("a b\na\na", False),
        ("a b\na\nd", True),
        ("b c\na", True),
        ("d\nb\nc a", True),  # in any order
        ("b\nb c", False),
        ("a b c a d\nd", False),
    ],
)
def test_mentions_overlap_only_if_those_of_the_task_do(tokens, answer, may_be_apart):
    assert accepts(constraint(tokens, DRUGS, "a b c a d"), f" {answer}")
    assert accepts(constraint(tokens, APART, "a b c a d"), f" {answer}") == may_be_apart
    two = TWO_TYPES.model_copy(update={"overlap": False})
    assert not accepts(constraint(tokens, two, "a"), " drug: a\nproblem: a")


def test_mentions_may_be_in_lower_case_if_they_do_not_overlap(tokens):
    note = "Iron. IRON daily"
    assert accepts(constraint(tokens, APART, note), " iron\niron\ndaily")
    assert not accepts(constraint(tokens, APART, note), " iron\niron\niron")
    assert not accepts(constraint(tokens, APART, note), " Daily")
    assert not accepts(constraint(tokens, DRUGS, note), " iron")


def test_words_in_lower_case_are_those_that_are_meant(tokens):
    """Not inside another word, and as long as in the note; İ in lower case is two characters."""
    note = "Iron for İlker, not environ"
    rule = constraint(tokens, APART, note)
    assert accepts(rule, " iron\nİlker")
    spans = parse_answer(APART, Record("1", {"text": note}), rule.text).spans
    assert [note[span.start : span.end] for span in spans] == ["Iron", "İlker"]
    assert not accepts(constraint(tokens, APART, note), f" {'İ'.lower()}lker")


def ends_when(tokens, card, note, written, share):
    """Return whether the answer ends where a share of the probability is on allowed tokens."""
    rule = constraint(tokens, card, note)
    for letter in written:
        rule.accept(ord_of(letter))
    allowed = rule.allowed()
    logits = torch.zeros(2, 264)  # the second row is free
    forbidden = 264 - len(allowed)
    logits[0, allowed] = np.log(share / (1 - share) * forbidden / len(allowed))
    constrained = constrain(logits, [rule, None])
    assert torch.equal(constrained[1], logits[1])
    kept = constrained[0].isfinite().nonzero().flatten().tolist()
    assert kept in ([END], allowed.tolist())
    return kept == [END]


@pytest.mark.parametrize(
    ("written", "text"),
    [(" aspi", "none"), (" aspirin\n", "aspirin"), (" aspirin\nthen as", "aspirin")],
)
def test_answer_ends_where_little_probability_is_on_allowed_tokens(tokens, written, text):
    assert ends_when(tokens, DRUGS, NOTE, written, MIN_SHARE - 0.01)
    assert not ends_when(tokens, DRUGS, NOTE, written, MIN_SHARE + 0.01)
    rule = constraint(tokens, DRUGS, NOTE)
    for letter in written:
        rule.accept(ord_of(letter))
    assert rule.text == text  # without the line that is not whole


def test_answer_does_not_end_before_it_begins(tokens):
    assert not ends_when(tokens, DRUGS, NOTE, "", 0.001)


@given(
    note=st.text(alphabet="aAb. ", max_size=20), choices=st.lists(st.integers(0, 99), min_size=60)
)
def test_mentions_that_must_not_overlap_never_do(tokens, note, choices):
    rule = constraint(tokens, APART, note)
    for choice in choices:
        allowed = rule.allowed().tolist()
        token = allowed[choice % len(allowed)]
        if token == END:
            break
        rule.accept(token)
    spans = sorted(parse_answer(APART, Record("1", {"text": note}), rule.text).spans)
    assert all(one.end <= other.start for one, other in pairwise(spans))
    assert all(any(map(str.isalnum, note[one.start : one.end])) for one in spans)


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [
        ("none", True),
        ("dose: aspirin | 81 mg", True),
        ("dose: aspirin | 81 mg\ndose: aspirin | 81 mg", False),
        ("dose: aspirin | 81 mg\ndose: aspirin | mg", True),
        ("dose: mg | aspirin\ndose: aspirin | mg", True),  # in any order
        (r"dose: a\|b | c\\d", True),
        ("dose: a|b | aspirin", False),
        ("dose: aspirin", False),
        ("route: aspirin | mg", False),
    ],
)
def test_links_are_between_words_of_the_note_and_once(tokens, answer, is_right):
    note = "aspirin 81 mg a|b c\\d"
    assert accepts(constraint(tokens, LINKS, note), f" {answer}") == is_right


@pytest.mark.parametrize("note", ["", " \r\n", "\u00a0"])
@pytest.mark.parametrize("card", CARDS)
def test_note_without_words_allows_none_only(tokens, card, note):
    rule = constraint(tokens, card, note)
    assert [i for i in range(264) if is_allowed(rule, i)] == [ord_of(" ")]
    assert accepts(rule, " none")


def ord_of(letter):
    [token] = byte_tokenizer()(letter, add_special_tokens=False)["input_ids"]
    return token


def test_last_line_that_is_cut_is_dropped_unless_complete(tokens):
    rule = constraint(tokens, DRUGS, NOTE)
    accepts(rule, " aspirin 81 m")
    assert rule.text == "none"
    rule = constraint(tokens, DRUGS, NOTE)
    accepts(rule, " aspirin 81 mg\naspirin")
    assert rule.text == "aspirin 81 mg\naspirin"
    rule = constraint(tokens, DRUGS, NOTE)
    accepts(rule, " aspirin 81 mg\naspi")
    assert rule.text == "aspirin 81 mg"


LETTERS = st.text(
    alphabet="aäAİ1 \t\r\n\"'\\|[](){}<>/.*+?^$&~%:-_#é漢🙂\u0301\u00a0\u2028\x00", max_size=40
)


@given(
    note=LETTERS,
    choices=st.lists(st.integers(0, 10**6), min_size=80, max_size=80),
    card=st.sampled_from(CARDS),
)
def test_whatever_is_chosen_among_allowed_tokens_is_grounded(tokens, note, choices, card):
    rule = constraint(tokens, card, note)
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
def test_every_set_of_whole_word_mentions_is_accepted(tokens, given_):
    text, chosen = given_
    spans = tuple(Span(start, end, kind) for (start, end), kind in chosen)
    answer = render_answer(TWO_TYPES, Record("1", {"text": text}, SpansAnswer(spans)))
    assert accepts(constraint(tokens, TWO_TYPES, text), f" {answer}")


@given(annotated())
def test_links_between_whole_words_that_text_can_tell_apart_are_accepted(tokens, given_):
    text, chosen = given_
    places = [place for place, _ in chosen]
    links = {Relation("dose", Span(*head, ""), Span(*tail, "")) for head, tail in pairwise(places)}
    record = Record("1", {"text": text}, RelationsAnswer(tuple(links)))
    answer = render_answer(LINKS, record)
    if len(parse_answer(LINKS, record, answer).relations) == len(links):
        assert accepts(constraint(tokens, LINKS, text), f" {answer}")


def test_a_token_that_is_not_allowed_is_an_error(tokens):
    rule = constraint(tokens, find_card("practice-ner-drugs"), "Took aspirin.")
    forbidden = next(i for i in range(264) if not is_allowed(rule, i))
    with pytest.raises(AssertionError, match="was not allowed"):
        rule.accept(forbidden)


def test_a_line_that_must_not_come_again_is_an_error(tokens):
    rule = constraint(tokens, LINKS, "aspirin 81 mg")
    for letter in " dose: aspirin | 81 mg\ndose: aspirin | 81 mg":
        rule.accept(ord_of(letter))
    with pytest.raises(AssertionError, match="was not allowed"):
        rule.accept(ord_of("\n"))


@given(
    note=LETTERS,
    choices=st.lists(st.integers(0, 10**6), min_size=40, max_size=40),
    card=st.sampled_from(CARDS),
    start=st.sampled_from(["", " "]),
)
def test_the_same_tokens_are_allowed_as_by_llguidance(tokens, note, choices, card, start):
    lines = [kind_of(card).allowed(card, Record("1", {"text": note})) for _ in range(2)]
    rule = LineConstraint(tokens, lines[0], start=start)
    reference = Reference(REFERENCE_TOKENIZER, lines[1], start=start, symbols=bool(card.symbols))
    for choice in choices:
        allowed = rule.allowed().tolist()
        assert allowed == reference.allowed()
        token = allowed[choice % len(allowed)]
        if token == END:
            break
        rule.accept(token)
        reference.accept(token)


class TwoWaysToWriteLetters:
    """A vocabulary with each letter twice, as those of SentencePiece with bytes."""

    texts = (*(bytes([n]) for n in range(128)), *(bytes([n]) for n in range(128)), b"</s>")
    vocab_size, eos_tokens = 257, [256]

    def is_special_token(self, token):
        return token == 256

    def decode_bytes(self, ids):
        return b"".join(self.texts[token] for token in ids)


def test_tokens_with_the_same_bytes_are_all_allowed():
    rule = constraint(AnswerTokens(TwoWaysToWriteLetters()), DRUGS, "aspirin", "")
    assert rule.allowed().tolist() == [ord("a"), ord("n"), 128 + ord("a"), 128 + ord("n")]
    for letter in "aspirin":
        rule.accept(128 + ord(letter))
    assert rule.allowed().tolist() == [ord("\n"), 128 + ord("\n"), 256]


PARTS = (
    *("aspirin", "81 mg", "NSAID-induced", "gastritis", "5%", "(x)", "a|b", "c\\d", '"p.o."'),
    *("né", "漢字", "🙂", "👩🏽\u200d⚕️", "e\u0301", "ﬁ", "µg/dL", "\u200b", "none", "drug:"),
    *("_x_", "•", "-", "T.I.D."),
)
BETWEEN = (" ", "  ", "\t", "\n", "\r\n", "\n\n", ", ", ".\r\n", "/", "", "\u00a0", "\u2028")


def made_note(rng):
    """Return a note of many forms, and the places of words in it: (start, end)."""
    text, places = rng.choice(["", " ", "\r\n"]), []
    for _ in range(rng.randint(1, 12)):
        part, between = rng.choice(PARTS), rng.choice(BETWEEN)
        if text and text[-1].isalnum() and part[0].isalnum():
            text += " "
        places.append((len(text), len(text) + len(part)))
        text += part + between
    return (text, places) if rng.random() < 0.5 else (text.rstrip(), places)


def first_refused(rule, ids, end):
    """Return the number of the first id that is refused, or None; the end comes last."""
    for number, token in enumerate(ids):
        if token not in rule.allowed():
            return number
        rule.accept(token)
    return None if end in rule.allowed() else len(ids)


@pytest.fixture(scope="module")
def real(smollm2):
    """Return the encoder and the tokens of the default backbone."""
    encoder = make_encoder(smollm2.tokenizer, DataSettings())
    return encoder, answer_tokens(smollm2, {encoder.end_id})


def gold_answers(rng, card, text, places):
    """Return a made-up answer to a note, as its kind writes it, that its kind can read again."""
    labels = list(card.labels)
    chosen = sorted(rng.sample(places, rng.randint(1, len(places))))
    if kind_of(card).answer is SpansAnswer:
        spans = {Span(start, end, rng.choice(labels)) for start, end in chosen}
        answer = SpansAnswer(tuple(sorted(spans)))
    else:
        pairs = {(head, rng.choice(places)) for head in chosen}
        answer = RelationsAnswer(
            tuple(Relation("dose", Span(*head, ""), Span(*tail, "")) for head, tail in pairs)
        )
    return render_answer(card, Record("1", {"text": text}, answer)), len(chosen)


@pytest.mark.parametrize("card", [DRUGS, TWO_TYPES, LINKS])
def test_gold_answers_pass_on_the_default_tokenizer_and_invented_ones_never(real, card):
    encoder, tokens = real
    rng = random.Random(0)
    num_gold = num_long = 0
    for _ in range(200):
        text, places = made_note(rng)
        gold, size = gold_answers(rng, card, text, places)
        read = parse_answer(card, Record("1", {"text": text}), gold)
        if len(kind_of(card).listing.items(read)) < size or read.ungrounded:
            continue  # the text form cannot tell its links or mentions apart
        rule = constraint(tokens, card, text, encoder.answer_start)
        assert first_refused(rule, encoder.encode_target(gold)[:-1], encoder.end_id) is None, (
            text,
            gold,
        )
        assert rule.text == gold
        num_gold, num_long = num_gold + 1, num_long + (size > 2)
        invented = gold.replace("\n", "\nibuprofen 7\n", 1) if "\n" in gold else f"{gold} 7"
        ids = encoder.encode_target(invented)[:-1]
        rule = constraint(tokens, card, text, encoder.answer_start)
        assert first_refused(rule, ids, encoder.end_id) is not None, (text, invented)
    assert num_gold > 100
    assert num_long > 30


def test_the_default_tokenizer_has_the_tokens_that_llguidance_allows(real, smollm2):
    """Where only one text can follow, llguidance allows one way to write it, we every way."""
    encoder, tokens = real
    read = llguidance_tokenizer(smollm2.tokenizer, len(smollm2.tokenizer), encoder.end_id)
    rng = random.Random(1)
    num_equal = num_certain = 0
    for number in range(60):
        text, _ = made_note(rng)
        card = CARDS[number % len(CARDS)]
        lines = [kind_of(card).allowed(card, Record("1", {"text": text})) for _ in range(2)]
        rule = LineConstraint(tokens, lines[0], start=encoder.answer_start)
        symbols = bool(card.symbols)
        reference = Reference(read, lines[1], start=encoder.answer_start, symbols=symbols)
        for _ in range(20):
            allowed, expected = rule.allowed().tolist(), reference.allowed()
            if allowed == expected:
                num_equal += 1
            else:
                assert len(expected) == 1
                assert set(expected) < set(allowed)
                num_certain += 1
            token = rng.choice(expected)
            if token == encoder.end_id:
                break
            rule.accept(token)
            reference.accept(token)
    assert num_equal > 200
    assert 0 < num_certain < num_equal / 2
