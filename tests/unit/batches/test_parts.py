"""Long examples are read in parts, and the answers to the parts are joined."""

from dataclasses import replace

import pytest
from made_cards import card_of, wording_of
from tiny import byte_tokenizer

from clinprompt.batches.encode import Encoder
from clinprompt.batches.input_form import InputForm, chat_of
from clinprompt.batches.parts import parts_of
from clinprompt.tasks.kinds import make_example, parse_answer
from clinprompt.tasks.records import (
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
)

TOKENIZER = byte_tokenizer()  # one token a byte
TEXT = " ".join(f"On day {day} he took drug{day} twice." for day in range(10, 30))
LABELS = {"DRUG": "drug", "DAY": "day"}
WORDING = wording_of("{{ text }}\nAnswer:")
NER = card_of("ner", "spans", labels=LABELS, wording=WORDING)
RE = card_of("re", "relations", labels=LABELS, wording=WORDING, setting="end-to-end")
PAIR = card_of("re", "label", labels=LABELS, wording=WORDING, setting="end-to-end")
QUESTION = wording_of("{{ context }}\nQuestion: {{ question }}\nAnswer:", cut="context")
QA = card_of("qa", "text", "token_f1", wording=QUESTION)
DRUGS = tuple(Span(at, at + 6, "DRUG") for at in range(len(TEXT)) if TEXT.startswith("drug", at))
LINKS = tuple(
    Relation("DAY", Span(span.start, span.end, ""), Span(span.start - 11, span.start - 9, ""))
    for span in DRUGS
)


def encoder_of(limit, *, splits=True):
    return Encoder(TOKENIZER, limit, 60, splits=splits)


@pytest.mark.parametrize(
    ("card", "answer"), [(NER, SpansAnswer(DRUGS)), (RE, RelationsAnswer(LINKS))]
)
def test_windows_with_and_without_answers_give_the_whole_answer(card, answer):
    example = make_example(card, Record("1", {"text": TEXT}, answer))
    encoder = encoder_of(150)
    parts = parts_of(card, example, encoder)
    assert len(parts.examples) > 3
    assert not any(encoder.encode(part).input_was_cut for part in parts.examples)
    answers = [parse_answer(card, part.record, part.target) for part in parts.examples]
    assert parts.join(answers) == answer


@pytest.mark.parametrize("limit", [30, 45, 60, 200])
def test_no_window_has_an_answer_that_is_known_not_to_fit(limit):
    """An answer of 20 drugs takes 279 tokens; every line of it 14."""
    example = make_example(NER, Record("1", {"text": TEXT}, SpansAnswer(DRUGS)))
    encoder = Encoder(TOKENIZER, 2000, limit)
    parts = parts_of(NER, example, encoder)
    assert not any(encoder.encode(part).target_was_cut for part in parts.examples)
    answers = [parse_answer(NER, part.record, part.target) for part in parts.examples]
    assert parts.join(answers) == SpansAnswer(DRUGS)


def test_windows_are_short_where_texts_are_dense():
    """To 60 tokens of answer belong 60 / (0.5 · 1.2) = 100 of text."""
    dense = NER.model_copy(update={"density": 0.5})
    parts = parts_of(dense, make_example(dense, Record("1", {"text": TEXT})), encoder_of(2000))
    lengths = [len(part.record.text) for part in parts.examples]
    assert len(lengths) > 5
    assert 60 < max(lengths) <= 100


def test_density_does_not_change_short_texts():
    dense = NER.model_copy(update={"density": 0.5})
    example = make_example(dense, Record("1", {"text": TEXT[:90]}))
    assert parts_of(dense, example, encoder_of(2000)).examples == (example,)


def test_a_mention_too_long_for_any_answer_stays_whole():
    answer = SpansAnswer((Span(0, len(TEXT), "DRUG"),))
    example = make_example(NER, Record("1", {"text": TEXT}, answer))
    assert parts_of(NER, example, encoder_of(2000)).examples == (example,)


def test_every_window_has_the_instruction_of_its_note():
    example = replace(make_example(NER, Record("1", {"text": TEXT})), instruction="Please do it.")
    parts = parts_of(NER, example, encoder_of(150))
    assert len(parts.examples) > 1
    assert {part.instruction for part in parts.examples} == {"Please do it."}


def test_windows_do_not_depend_on_instruction_and_chat_template():
    example = make_example(NER, Record("1", {"text": TEXT}))
    plain = encoder_of(150)
    asking = replace(plain, form=InputForm("behind", chat_of(plain.tokenizer)))
    assert parts_of(NER, example, asking).examples == parts_of(NER, example, plain).examples


def test_an_example_that_fits_is_not_changed():
    example = make_example(NER, Record("1", {"text": TEXT}))
    parts = parts_of(NER, example, encoder_of(2000))
    assert parts.examples == (example,)
    assert parts.join([SpansAnswer(DRUGS)]) == SpansAnswer(DRUGS)


def test_a_question_is_not_asked_about_a_passage_if_splitting_is_switched_off():
    fields = {"context": TEXT, "question": "What about drug23?"}
    example = make_example(QA, Record("1", fields))
    assert parts_of(QA, example, encoder_of(150, splits=False)).examples == (example,)


@pytest.mark.parametrize(
    ("card", "answer"), [(NER, SpansAnswer(DRUGS)), (RE, RelationsAnswer(LINKS))]
)
def test_mentions_and_links_are_read_in_windows_even_if_other_inputs_are_cut(card, answer):
    example = make_example(card, Record("1", {"text": TEXT}, answer))
    encoder = encoder_of(150, splits=False)
    assert parts_of(card, example, encoder) == parts_of(card, example, encoder_of(150))
    for part in parts_of(card, example, encoder).examples:
        row = encoder.encode(part)
        assert not row.input_was_cut
        assert "drug" in part.target
        lines = [line.rpartition(": ")[2].partition(" | ")[0] for line in part.target.split("\n")]
        read = TOKENIZER.decode(list(row.input_ids))
        assert all(mention in read for mention in lines)


class CountsTooFew(Encoder):
    """An encoder for which a text alone has fewer tokens than together with the wording."""

    def length_of(self, text):
        return super().length_of(text) * 19 // 20


def test_windows_fit_where_their_text_has_more_tokens_with_the_wording_than_alone():
    encoder = CountsTooFew(TOKENIZER, 150, 60)
    example = make_example(NER, Record("1", {"text": TEXT}))
    assert all(map(encoder.fits, parts_of(NER, example, encoder).examples))


def test_given_mentions_that_leave_no_room_are_listed_window_by_window():
    wording = wording_of("{{ text }}\nGiven:\n{{ mentions }}\nAnswer:")
    card = card_of("re", "relations", labels=LABELS, wording=wording, setting="gold-entities")
    listed = "\n".join(f"DRUG: {TEXT[span.start : span.end]}" for span in DRUGS)
    fields = {"text": TEXT, "mentions": listed}
    example = make_example(card, Record("1", fields, RelationsAnswer(LINKS)))
    encoder = encoder_of(150)
    assert encoder.room(example) < 0
    parts = parts_of(card, example, encoder)
    assert not any(encoder.encode(part).input_was_cut for part in parts.examples)
    answers = [parse_answer(card, part.record, part.target) for part in parts.examples]
    assert parts.join(answers) == RelationsAnswer(LINKS)


def test_a_question_is_asked_about_the_passage_that_matches_it():
    fields = {"context": TEXT, "question": "What about drug23?"}
    example = make_example(QA, Record("1", fields, TextAnswer("twice")))
    [part] = parts_of(QA, example, encoder_of(160)).examples
    assert "drug23" in part.input
    row = encoder_of(160).encode(part)
    assert TOKENIZER.decode(list(row.input_ids)) == part.input  # all of the passage is read
    assert row.input_was_cut  # ... which is not all of the context
    assert part.target == "twice"


def test_a_question_is_trained_on_a_passage_that_has_its_answer():
    fields = {"context": TEXT, "question": "What about drug23?"}
    example = make_example(QA, Record("1", fields, TextAnswer("On day 11")))
    [passage] = parts_of(QA, example, encoder_of(160)).examples
    assert "On day 11 he" in passage.input
    unanswered = make_example(QA, Record("1", fields))
    [asked] = parts_of(QA, unanswered, encoder_of(160)).examples
    assert "drug23" in asked.input
    assert "On day 11 he" not in asked.input


@pytest.mark.parametrize("splits", [True, False])
def test_a_marked_pair_keeps_both_of_its_mentions(splits):
    marked = TEXT.replace("drug12", "<< drug12 >>").replace("drug27", "[[ drug27 ]]")
    example = make_example(PAIR, Record("1", {"text": marked}, LabelAnswer("DRUG")))
    encoder = encoder_of(200, splits=splits)
    [part] = parts_of(PAIR, example, encoder).examples
    row = encoder.encode(part)
    read = TOKENIZER.decode(list(row.input_ids))
    assert read == part.input
    assert row.input_was_cut
    assert "<< drug12 >>" in read
    assert "[[ drug27 ]]" in read
    assert " ... " in read
    assert part.target == "drug"
