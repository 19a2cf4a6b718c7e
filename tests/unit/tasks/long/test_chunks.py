"""Text is cut at sentence ends, and no part of it is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinprompt.tasks.long.chunks import cut, fit, sentences

LENGTHS = [len, lambda text: len(text.split()), lambda text: -(-len(text.encode()) // 3)]
texts = st.text(st.sampled_from("ab Z9.\n!?)é \t"), max_size=80)


def cut_by_hand(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "text",
    [
        "Denies pain.| Takes iron.",
        "Fever?| 38 degrees!| Better.",
        "Seen by Dr. Moss.| No rash (old.)| Home",
        "Took 5 mg. Then slept.| Iron vs. Zinc.| Ask J. Doe.",
        "Rose to 3.5 today.| 2.5 before.",
        "Cough. not fever.",
        "First line\n|Second line\n \n|Third",
        "",
        "\n|.",
    ],
)
def test_sentences_end_at_lines_and_at_marks_before_a_capital_or_digit(text):
    assert cut_by_hand(text.replace("|", "")) == [part for part in text.split("|") if part]


@given(texts)
def test_sentences_are_the_whole_text(text):
    assert "".join(cut_by_hand(text)) == text
    assert "" not in cut_by_hand(text)


@given(texts, st.sampled_from(LENGTHS), st.integers(1, 20))
def test_pieces_are_the_whole_text_and_within_the_limit(text, length_of, limit):
    chunks = cut(text, length_of, limit)
    assert "".join(text[chunk.start : chunk.end] for chunk in chunks) == text
    for chunk in chunks:
        assert chunk.length == length_of(text[chunk.start : chunk.end])
        assert chunk.length <= limit or chunk.end - chunk.start == 1


def test_a_long_sentence_is_cut_at_blanks_and_a_long_word_in_half():
    text = "Short one. Overlong words here"
    assert [text[p.start : p.end] for p in cut(text, len, 10)] == [
        "Short one.",
        " Overlong",
        " words",
        " here",
    ]
    assert [(p.start, p.end) for p in cut("abcdef", len, 3)] == [(0, 3), (3, 6)]


def test_a_window_is_measured_as_a_whole():
    """Pieces of 1 token each, of which any three together have one token more."""
    text = "a b c d"
    chunks = cut(text, lambda part: max(1, len(part.split())), 1)
    assert len(chunks) == 4
    assert fit(text, chunks, 0, lambda part: len(part.split()), 3) == 3
    assert fit(text, chunks, 0, lambda part: len(part.split()) + len(part) // 5, 3) == 2
