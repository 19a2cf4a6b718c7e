"""The passage chosen for a question fits the limit and contains the answer."""

from hypothesis import given
from hypothesis import strategies as st

from clinprompt.tasks.long.passages import best_passage

FILLER = "The visit was long and the room was cold. "


def num_words(text: str) -> int:
    return len(text.split())


def test_the_sentence_with_the_rare_words_is_in_the_middle():
    context = FILLER * 20 + "Warfarin was stopped after a bleed. " + FILLER * 20
    start, end = best_passage(context, "When was warfarin stopped?", num_words, 50)
    assert num_words(context[start:end]) <= 50
    where = context.index("Warfarin") - start
    assert 0 < where < end - start
    assert abs(where + len("Warfarin was stopped") / 2 - (end - start) / 2) < 2 * len(FILLER)


def test_two_matches_near_each_other_are_worth_more_than_one():
    context = "Iron low. " + FILLER * 9 + "Iron was given by vein. " + FILLER * 9
    start, end = best_passage(context, "iron by vein", num_words, 30)
    assert "Iron was given by vein." in context[start:end]


def test_words_in_one_sentence_count_more_than_the_same_words_in_two():
    apart = "Iron was low. " + FILLER + "It was given by mouth. "
    context = apart + FILLER * 9 + "Iron by mouth helped. " + FILLER * 9
    start, end = best_passage(context, "iron by mouth", num_words, 30)
    assert "Iron by mouth helped." in context[start:end]


def test_a_question_with_a_known_answer_gets_a_passage_that_has_it():
    context = FILLER * 9 + "Iron was given by vein. " + FILLER * 9 + "He took 81 mg. " + FILLER * 9
    start, end = best_passage(context, "iron by vein", num_words, 30, answer="81 mg")
    assert "81 mg" in context[start:end]
    assert num_words(context[start:end]) <= 30


def test_among_passages_with_the_answer_the_best_match_of_the_question_is_taken():
    twice = "A nurse gave 81 mg. " + FILLER * 9 + "Aspirin was 81 mg. " + FILLER * 9
    start, end = best_passage(FILLER * 9 + twice, "how much aspirin", num_words, 30, answer="81 mg")
    assert "Aspirin was 81 mg." in (FILLER * 9 + twice)[start:end]


def test_an_answer_that_is_not_in_the_context_changes_nothing():
    context = FILLER * 9 + "Iron was given by vein. " + FILLER * 9
    found = best_passage(context, "iron", num_words, 30)
    assert best_passage(context, "iron", num_words, 30, answer="zinc") == found


def test_a_context_that_fits_is_its_own_passage():
    assert best_passage("Short note.", "what?", num_words, 2) == (0, 11)


def test_a_question_without_any_match_still_gets_a_passage():
    start, end = best_passage(FILLER * 9, "zzz", num_words, 20)
    assert num_words((FILLER * 9)[start:end]) in range(9, 21)


@given(
    st.text(st.sampled_from("ab Z9.\n"), max_size=120),
    st.text(st.sampled_from("ab Z"), max_size=12),
    st.integers(1, 30),
)
def test_every_passage_is_a_part_of_the_context_within_the_limit(context, question, limit):
    start, end = best_passage(context, question, len, limit)
    assert 0 <= start <= end <= len(context)
    assert end - start <= limit
    assert end > start or not context
