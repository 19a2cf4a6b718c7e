"""Mentions are found at their places in the text, each occurrence once."""

from clinprompt.tasks.kinds.grounding import RelationGrounder, SpanGrounder
from clinprompt.tasks.records import Relation, Span


def found(text, *mentions, kind="x", apart=False):
    grounder = SpanGrounder(text, apart=apart)
    spans = [grounder.ground(mention, kind) for mention in mentions]
    return [(span.start, span.end) if span else None for span in spans]


def test_repeated_words_take_one_occurrence_each_and_then_none():
    assert found("pain, pain", "pain", "pain", "pain") == [(0, 4), (6, 10), None]


def test_whole_word_is_preferred_over_part_of_a_word():
    assert found("hypertension and tension", "tension") == [(17, 24)]


def test_earlier_whole_word_is_preferred_over_part_of_a_later_word():
    assert found("tension, fever, hypertension", "fever", "tension") == [(9, 14), (0, 7)]
    assert found("Tension, fever, hypertension", "fever", "tension") == [(9, 14), (0, 7)]


def test_mentions_that_are_apart_take_places_of_their_own():
    assert found("chest pain, pain", "chest pain", "pain", "pain", apart=True) == [
        (0, 10),
        (12, 16),
        None,
    ]


def test_part_of_a_word_is_found_where_there_is_no_whole_word():
    assert found("hypertension", "tension") == [(5, 12)]


def test_nested_mention_is_found_inside_the_longer_one():
    assert found("chest pain", "chest pain", "chest", "pain") == [(0, 10), (0, 5), (6, 10)]


def test_place_after_the_last_mention_is_preferred_over_one_inside_it():
    assert found("chest pain, then pain", "chest pain", "pain", "pain") == [
        (0, 10),
        (17, 21),
        (6, 10),
    ]


def test_mention_across_a_line_end_is_found_with_its_own_offsets():
    assert found("  acute \n\t renal failure", "acute renal") == [(2, 16)]


def test_case_is_ignored_only_where_exact_case_is_missing():
    assert found("Aspirin or aspirin", "aspirin") == [(11, 18)]
    assert found("Aspirin", "aspirin") == [(0, 7)]


def test_mention_out_of_order_is_found_from_the_beginning():
    assert found("fever and cough", "cough", "fever") == [(10, 15), (0, 5)]


def test_letters_whose_lower_case_is_longer_keep_offsets_right():
    assert found("İİ Fever", "fever") == [(3, 8)]


def test_same_mention_may_have_two_types_in_one_place():
    grounder = SpanGrounder("lead")
    assert grounder.ground("lead", "drug") == Span(0, 4, "drug")
    assert grounder.ground("lead", "test") == Span(0, 4, "test")
    assert grounder.ground("lead", "test") is None


def test_link_takes_the_nearest_pair():
    #       0         10        20
    text = "aspirin, iron; aspirin 5 mg"
    link = RelationGrounder(text).ground("aspirin", "5 mg", "dose")
    assert link == Relation("dose", Span(15, 22, ""), Span(23, 27, ""))


def test_repeated_link_takes_fresh_ends_before_shared_ones():
    # Heads at 0 and 4, tails at 2 and 6. Gaps: 0-2 is 1, 2-4 is 1, 4-6 is 1, 0-6 is 5.
    grounder = RelationGrounder("a b a b")
    links = [grounder.ground("a", "b", "x") for _ in range(5)]
    places = [(link.head.start, link.tail.start) if link else None for link in links]
    assert places == [(0, 2), (4, 6), (4, 2), (0, 6), None]


def test_link_with_one_end_missing_is_not_found():
    assert RelationGrounder("aspirin 5 mg").ground("aspirin", "6 mg", "dose") is None


def test_link_between_equal_strings_joins_two_places():
    link = RelationGrounder("pain pain").ground("pain", "pain", "x")
    assert link is not None
    assert (link.head.start, link.tail.start) == (0, 5)


def test_one_mention_may_be_both_ends_of_a_link_but_only_after_every_other_pair():
    once = RelationGrounder("A smoker since 1990.")
    assert once.ground("smoker", "smoker", "status") == Relation(
        "status", Span(2, 8, ""), Span(2, 8, "")
    )
    assert once.ground("smoker", "smoker", "status") is None
    twice = RelationGrounder("smoker, heavy smoker")
    found = [twice.ground("smoker", "smoker", "status") for _ in range(4)]
    ends = [(link.head.start, link.tail.start) for link in found if link]
    assert ends == [(0, 14), (14, 0), (0, 0), (14, 14)]
