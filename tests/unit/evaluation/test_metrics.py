import numpy as np
import pytest
from made_cards import card_of

from clinprompt.errors import DataError, SettingError
from clinprompt.evaluation.metrics import chance, majority, score, unusable_shares
from clinprompt.tasks.kinds import kind_of, parse_answer
from clinprompt.tasks.kinds.free_text import exact_match, normalize_answer, token_f1
from clinprompt.tasks.kinds.ner import NER, partial_entity_f1
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


def spans(*triples):
    return SpansAnswer(tuple(Span(*triple) for triple in triples))


def labels(text):
    return [Unparseable("?") if name == "?" else LabelAnswer(name) for name in text.split()]


def texts(*parts):
    return [TextAnswer(part) for part in parts]


def test_entity_f1_counts_the_multiset_overlap_of_exact_typed_spans():
    gold = [spans((0, 4, "drug"), (0, 4, "drug"), (9, 12, "dose")), spans((2, 5, "drug"))]
    answers = [
        spans((0, 4, "drug"), (9, 12, "drug")),  # one right; the right span with the wrong type
        spans((2, 5, "drug"), (2, 5, "drug")),  # one right; the repetition is one too many
    ]
    # correct 1 + 1 = 2, predicted 2 + 2 = 4, gold 3 + 1 = 4: F1 = 2·2 / (4 + 4)
    assert score("entity_f1", answers, gold).value == 2 * 2 / 8


def test_every_line_of_an_unparseable_row_counts_as_a_wrong_mention():
    gold = [spans((0, 4, "drug")), spans((1, 2, "drug"))]
    scores = score("entity_f1", [Unparseable("drug\n\n ?\n"), gold[1]], gold)
    # correct 1, predicted 2 lines that are not blank + 1, gold 2: F1 = 2·1 / (3 + 2)
    assert scores.value == pytest.approx(2 / 5)
    scores = score("entity_f1", [Unparseable(""), gold[1]], gold)
    # an empty output counts as one line: F1 = 2·1 / (2 + 2)
    assert scores.value == pytest.approx(1 / 2)
    assert "unparseable lines count as wrong" in scores.scorer


def test_invented_and_repeated_mentions_count_as_wrong():
    card = card_of("ner", "spans", "entity_f1", labels={"drug": "drug"})
    record = Record("1", {"text": "Took aspirin."}, spans((5, 12, "drug")))
    answer = parse_answer(card, record, "aspirin\naspirin\nheparin")
    # correct 1; predicted 3: right, repeated, not in the text; gold 1: F1 = 2·1 / (3 + 1)
    assert score("entity_f1", [answer], [record.answer]).value == pytest.approx(1 / 2)
    assert partial_entity_f1([answer], [record.answer], ("drug",)) == pytest.approx(1 / 2)


def test_invented_links_count_as_wrong():
    card = card_of("re", "relations", "relation_f1", labels={"dose": "dose"}, setting="end-to-end")
    link = Relation("dose", Span(0, 7, ""), Span(8, 12, ""))
    record = Record("1", {"text": "aspirin 5 mg"}, RelationsAnswer((link,)))
    answer = parse_answer(card, record, "dose: aspirin | 5 mg\ndose: aspirin | 9 mg\nno link")
    # correct 1; predicted 3: right, not in the text, without the form; gold 1: F1 = 2·1 / (3 + 1)
    assert score("relation_f1", [answer], [record.answer]).value == pytest.approx(1 / 2)
    unread = score("relation_f1", [Unparseable("a\nb"), record.answer], [record.answer] * 2)
    # correct 1, predicted 2 + 1, gold 2: F1 = 2·1 / (3 + 2)
    assert unread.value == pytest.approx(2 / 5)
    assert "count as wrong" in unread.scorer


def test_no_gold_and_no_prediction_is_zero():
    assert score("entity_f1", [spans()], [spans()]).value == 0.0


def test_relation_f1_compares_type_and_both_argument_spans():
    head, tail, other = Span(0, 3, "drug"), Span(5, 8, "effect"), Span(9, 12, "effect")
    gold = [RelationsAnswer((Relation("causes", head, tail), Relation("treats", head, other)))]
    answers = [
        RelationsAnswer(
            (
                Relation("causes", head, tail),
                Relation("causes", tail, head),  # turned around
                Relation("causes", head, other),  # another type
            )
        )
    ]
    # correct 1, predicted 3, gold 2: F1 = 2·1 / (3 + 2)
    assert score("relation_f1", answers, gold).value == pytest.approx(2 / 5)


def test_accuracy_counts_unparseable_as_wrong():
    scores = score("accuracy", labels("a b ? a"), labels("a b b b"))
    assert scores.value == 2 / 4
    assert scores.num_rows == 4


def test_macro_f1_is_the_mean_over_labels_in_gold():
    gold, answers = labels("a a b b c"), labels("a b b ? d")
    # a: correct 1, predicted 1, gold 2: 2/3.  b: correct 1, predicted 2, gold 2: 2/4.  c: 0.
    # d does not occur in gold, nor e at all.
    scores = score("macro_f1", answers, gold, labels=("a", "b", "c", "d", "e"))
    assert scores.value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)


def test_positive_f1_looks_at_one_label():
    scores = score(
        "positive_f1", labels("yes yes no ?"), labels("yes no yes yes"), positive=("yes",)
    )
    # correct 1, predicted 2, gold 3: F1 = 2·1 / (2 + 3)
    assert scores.value == pytest.approx(2 / 5)


def test_positive_f1_of_several_labels_is_micro_f1_over_them():
    answers, gold = labels("a b b n a ?"), labels("a b a a n b")
    scores = score("positive_f1", answers, gold, positive=("a", "b"))
    # Right: a, b. Said: a b b a = 4. True: a b a a b = 5. F1 = 2·2 / 9.
    assert scores.value == pytest.approx(4 / 9)
    assert scores.scorer == "micro-F1 over 'a', 'b'"


def test_positive_f1_without_a_positive_label_is_refused():
    with pytest.raises(SettingError, match="positive"):
        score("positive_f1", labels("a"), labels("a"))


def test_rouge_l_reads_newlines_as_blanks_and_stems():
    # Common subsequence of 2 stems; 2 predicted and 4 gold words: P = 1, R = 1/2, F = 2/3
    scores = score(
        "rouge_l", texts("effusion\n\nunchanged"), texts("small effusions remain unchanged")
    )
    assert scores.value == pytest.approx(2 / 3)
    assert "stemmer on" in scores.scorer


def test_unparseable_text_scores_zero_even_for_empty_gold():
    scores = score("token_f1", [Unparseable(""), TextAnswer("x")], texts("", "x"))
    assert scores.value == 1 / 2


def test_token_f1_by_hand():
    assert normalize_answer("The  Left-sided, pain.") == "leftsided pain"
    # {chest, pain, left} and {chest, pain}: 2·2 / (3 + 2)
    assert token_f1("chest pain, left", "the chest pain") == pytest.approx(4 / 5)
    assert token_f1("", "the") == 1.0
    assert token_f1("", "pain") == 0.0
    assert exact_match("An aspirin!", "aspirin") == 1.0
    assert exact_match("aspirins", "aspirin") == 0.0


def test_partial_f1_gives_half_for_an_overlap_and_counts_foreign_types_as_spurious():
    gold = [spans((0, 4, "drug"), (10, 14, "drug")), spans((0, 3, "dose"))]
    answers = [spans((0, 4, "drug"), (12, 14, "drug"), (20, 22, "food")), Unparseable("?")]
    # earned 1 + 0.5; predicted 4 (food and "?" are spurious); gold 3: F1 = 2·1.5 / (4 + 3)
    assert partial_entity_f1(answers, gold, ("drug", "dose")) == pytest.approx(3 / 7)


def test_partial_f1_reads_ends_as_exclusive():
    # Characters 0-3 and 4-7 touch but share nothing.
    assert partial_entity_f1([spans((4, 8, "drug"))], [spans((0, 4, "drug"))], ("drug",)) == 0.0


def test_partial_f1_refuses_gold_of_an_unknown_type():
    with pytest.raises(DataError, match="food"):
        partial_entity_f1([spans()], [spans((0, 4, "food"))], ("drug",))


def test_value_of_rows_equals_the_score_of_those_rows():
    gold, answers = labels("a a b b c"), labels("a b b a c")
    rows = np.array([0, 0, 3, 4])
    scores = score("macro_f1", answers, gold)
    again = score("macro_f1", [answers[i] for i in rows], [gold[i] for i in rows])
    of_rows = scores.formula(scores.statistics[rows].sum(axis=0))
    assert float(of_rows) == pytest.approx(again.value)


def test_unusable_shares_are_of_rows_and_of_mentions():
    answers = [
        SpansAnswer((Span(0, 1, "drug"),), ungrounded_lines=("zinc", "gold")),
        Unparseable("?"),
        spans(),
    ]
    counted = unusable_shares(NER, answers)
    assert counted.unparseable == pytest.approx(1 / 3)
    assert counted.ungrounded == pytest.approx(2 / 3)


@pytest.mark.parametrize(("answers", "gold"), [([], []), (labels("a"), labels("a b"))])
def test_rows_that_do_not_match_are_refused(answers, gold):
    with pytest.raises(DataError, match="rows"):
        score("accuracy", answers, gold)


def test_an_answer_of_another_kind_is_refused_without_its_text():
    with pytest.raises(DataError, match="row 0") as caught:
        score("accuracy", [TextAnswer("secret note")], labels("a"))
    assert "secret" not in str(caught.value)


def test_an_unknown_metric_gives_the_nearest_name():
    with pytest.raises(SettingError, match="accuracy"):
        score("acuracy", labels("a"), labels("a"))


def records_of(answers, options=()):
    return [
        Record(str(number), {"text": "x"}, answer, options) for number, answer in enumerate(answers)
    ]


def classification(metric, words="a b", **changes):
    return card_of("nli", "label", metric, labels={word: word for word in words.split()}, **changes)


MENTIONS = card_of("ner", "spans", "entity_f1", labels={"x": "x"})
SUMMARY = card_of("summarization", "text", "token_f1")


def test_chance_accuracy_is_exact_for_rows_with_different_numbers_of_options():
    card = card_of("qa", "choice", "accuracy")
    records = [
        *records_of(labels("A"), ("1", "2", "3", "4")),
        *records_of(labels("B"), ("1", "2", "3", "4", "5")),
    ]
    value = chance(card, records, [], np.random.default_rng(0))
    assert value == pytest.approx((1 / 4 + 1 / 5) / 2)


def test_chance_macro_f1_of_balanced_labels_is_near_one_half():
    records = records_of(labels("a b " * 200))
    value = chance(classification("macro_f1"), records, [], np.random.default_rng(0))
    assert value == pytest.approx(0.5, abs=0.01)


def test_chance_on_spans_is_nothing_and_on_text_a_training_answer():
    generator = np.random.default_rng(0)
    assert chance(MENTIONS, records_of([spans((0, 1, "x"))]), [], generator) == 0.0
    gold = texts("no acute disease")
    assert chance(SUMMARY, records_of(gold), gold, generator) == 1.0
    with pytest.raises(DataError, match="training"):
        chance(SUMMARY, records_of(gold), [], generator)


def test_majority_gives_the_most_frequent_training_answer():
    card, training = classification("accuracy", "a b c"), labels("a b b c")
    assert kind_of(card).constant(card, training) == LabelAnswer("b")
    assert majority(card, records_of(labels("a b b b")), training) == 3 / 4
    assert kind_of(MENTIONS).constant(MENTIONS, [spans((0, 1, "x"))]) == SpansAnswer(())
    with pytest.raises(DataError, match="training answers"):
        majority(card, records_of(labels("a")), [])


def test_majority_of_positive_f1_always_says_positive():
    gold = labels("yes no no no")
    card = classification("positive_f1", "yes no", positive="yes")
    # correct 1, predicted 4, gold 1: 2·1 / (4 + 1)
    assert majority(card, records_of(gold), gold) == pytest.approx(2 / 5)
