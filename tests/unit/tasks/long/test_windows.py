"""Splitting a long record loses no mention, and merging restores the answer."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinprompt.errors import SettingError
from clinprompt.tasks.kinds.ner import MENTIONS
from clinprompt.tasks.kinds.relations import LINKS
from clinprompt.tasks.long import windows as long_windows
from clinprompt.tasks.long.windows import Window
from clinprompt.tasks.records import (
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
    Unparseable,
)

LENGTHS = [len, lambda text: len(text.split()), lambda text: -(-len(text.encode()) // 3)]
lengths = st.sampled_from(LENGTHS)
texts = st.text(st.sampled_from("abc Z9.\n!é "), min_size=1, max_size=150)


@st.composite
def limits(draw):
    """Return a limit and an overlap below half of it."""
    limit = draw(st.integers(1, 60))
    return limit, draw(st.integers(0, (limit - 1) // 2))


@st.composite
def annotated(draw):
    text = draw(texts)
    places = st.tuples(st.integers(0, len(text) - 1), st.integers(1, 12), st.sampled_from("XY"))
    drawn = draw(st.lists(places, max_size=12))
    return text, sorted(Span(at, min(at + n, len(text)), kind) for at, n, kind in drawn)


@st.composite
def linked(draw):
    text, spans = draw(annotated())
    ends = st.sampled_from(spans) if spans else st.nothing()
    links = draw(st.sets(st.builds(Relation, st.sampled_from("rs"), ends, ends), max_size=8))
    return text, sorted(links, key=lambda link: (link.head, link.tail, link.type))


def split_record(record, length_of, limit, overlap):
    listing = LINKS if isinstance(record.answer, RelationsAnswer) else MENTIONS
    within = listing.within
    return long_windows.split_record(record, length_of, limit, overlap, answer_within=within)


def answers_of(windows):
    return [window.record.answer for window in windows]


def num_words(text):
    return len(text.split())


class TestSplit:
    def test_a_note_of_three_sentences_by_hand(self):
        """At a limit of 6 words and an overlap of 2, chunks have at most (6 - 2) // 3 = 1 word."""
        text = "Took iron.\nHad rash.\nWent home.\nSlept."
        spans = (Span(5, 9, "DRUG"), Span(15, 19, "ADE"))
        record = Record("n1", {"text": text}, SpansAnswer(spans))
        first, second = split_record(record, num_words, 6, 2)
        assert (first.record.text, first.offset) == ("Took iron.\nHad rash.\nWent home.\n", 0)
        assert first.record.answer == SpansAnswer(spans)
        assert second.record.text.split() == ["Went", "home.", "Slept."]
        assert text[second.offset : second.end] == second.record.text
        assert second.record.answer == SpansAnswer(())
        assert (first.is_first, first.is_last) == (True, False)
        assert (second.is_first, second.is_last) == (False, True)

    def test_windows_have_separate_ids_and_stay_in_one_group(self):
        record = Record("n1", {"text": "One. Two. Three. Four.", "who": "x"}, None, ("o",))
        windows = split_record(record, num_words, 2, 0)
        assert [window.record.id for window in windows] == ["n1@0", "n1@9"]
        assert {window.record.group for window in windows} == {"n1"}
        assert all(window.record.fields["who"] == "x" for window in windows)
        assert all(window.record.options == ("o",) for window in windows)

    def test_a_record_that_fits_is_one_unchanged_window(self):
        record = Record("n1", {"text": "One two."}, TextAnswer("x"))
        (window,) = split_record(record, num_words, 2, 0)
        assert window.record is record
        assert (window.offset, window.is_first, window.is_last) == (0, True, True)

    def test_a_window_lists_its_mentions_and_has_the_space_of_the_others_for_text(self):
        text = "Ann took iron\npills. Bob took zinc. Cid took lead. Dee took gold."
        mentions = "D: iron pills\nD: zinc\nD: lead\nD: gold"
        # Six words and those of the list are 15. Seven words and five listed fit, ten and seven
        # do not; six and four fit.
        windows = split_record(Record("n1", {"text": text, "mentions": mentions}), num_words, 6, 0)
        assert [window.record.fields["mentions"] for window in windows] == [
            "D: iron pills\nD: zinc",
            "D: lead\nD: gold",
        ]

    @settings(max_examples=50)
    @given(linked(), lengths, limits())
    def test_a_window_and_its_listed_mentions_stay_within_the_limit(
        self, drawn, length_of, drawn_limit
    ):
        text, links = drawn
        mentions = {span for link in links for span in (link.head, link.tail)}
        listed = "\n".join(
            f"{span.type}: {text[span.start : span.end].strip()}" for span in mentions
        )
        record = Record("1", {"text": text, "mentions": listed})
        limit, overlap = drawn_limit
        room = limit + length_of(listed)
        for window in split_record(record, length_of, limit, overlap):
            shown = window.record.fields["mentions"]
            assert set(shown.split("\n")) <= set(listed.split("\n")) | {""}
            used = length_of(window.record.text) + length_of(shown)
            assert used <= room or len(window.record.text) == 1

    @pytest.mark.parametrize(("limit", "overlap"), [(4, 2), (4, -1), (0, 0)])
    def test_an_overlap_of_half_a_window_is_refused(self, limit, overlap):
        with pytest.raises(SettingError, match="half"):
            split_record(Record("n1", {"text": "a b c d e"}), num_words, limit, overlap)

    @given(annotated(), lengths, limits())
    def test_every_mention_is_complete_in_a_window_with_the_same_text(self, made, length_of, sizes):
        text, spans = made
        record = Record("n1", {"text": text}, SpansAnswer(tuple(spans)))
        windows = split_record(record, length_of, *sizes)
        for window in windows:
            assert window.record.text == text[window.offset : window.end]
        shown = {
            (span.start + window.offset, span.end + window.offset, span.type)
            for window in windows
            for span in window.record.answer.spans
        }
        assert shown == {(span.start, span.end, span.type) for span in spans}

    @given(texts, lengths, limits())
    def test_windows_cover_the_text_and_keep_the_limit(self, text, length_of, sizes):
        windows = split_record(Record("n1", {"text": text}), length_of, *sizes)
        assert (windows[0].offset, windows[-1].end) == (0, len(text))
        for before, after in pairwise(windows):
            assert before.offset < after.offset <= before.end < after.end
        for window in windows:
            assert length_of(window.record.text) <= sizes[0] or len(window.record.text) == 1

    @given(texts, limits())
    def test_every_stretch_shorter_than_the_overlap_is_complete_in_a_window(self, text, sizes):
        limit, overlap = sizes
        windows = split_record(Record("n1", {"text": text}), len, limit, overlap)
        for start in range(len(text)):
            end = min(start + overlap - 1, len(text))
            assert end <= start or any(w.offset <= start and end <= w.end for w in windows)

    def test_a_megabyte_of_text_is_measured_only_a_few_times(self):
        text = "The patient was seen and left well. " * 20_000
        measured = 0

        def length_of(part):
            nonlocal measured
            measured += len(part)
            return num_words(part)

        windows = split_record(Record("n1", {"text": text}), length_of, 512, 64)
        assert len(windows) < 1.3 * num_words(text) / 448
        assert measured < 4 * len(text)


class TestMerge:
    def test_a_mention_in_two_windows_has_the_value_of_its_own_window(self):
        """In "aaaaaaaaaa", (3, 5) is 3 from the cut of the first window and 1 from the second's."""
        first = Window(Record("1@0", {"text": "a" * 8}), 0, is_first=True, is_last=False)
        second = Window(Record("1@2", {"text": "a" * 8}), 2, is_first=False, is_last=True)
        values = [
            {Span(0, 2, "X"): 0.1, Span(3, 5, "X"): 0.2},
            {Span(1, 3, "X"): 0.3, Span(6, 8, "Y"): 0.4},
        ]
        joined = MENTIONS.join_values((first, second), values)
        assert joined == {Span(0, 2, "X"): 0.1, Span(3, 5, "X"): 0.2, Span(8, 10, "Y"): 0.4}

    @given(annotated(), lengths, limits())
    @settings(max_examples=300)
    def test_splitting_gold_mentions_and_merging_gives_them_back(self, made, length_of, sizes):
        text, spans = made
        record = Record("n1", {"text": text}, SpansAnswer(tuple(spans)))
        windows = split_record(record, length_of, *sizes)
        assert MENTIONS.join(windows, answers_of(windows)) == record.answer

    @given(linked(), lengths, limits())
    @settings(max_examples=300)
    def test_splitting_gold_links_and_merging_gives_back_all_but_those_counted_lost(
        self, made, length_of, sizes
    ):
        text, links = made
        record = Record("n1", {"text": text}, RelationsAnswer(tuple(links)))
        windows = split_record(record, length_of, *sizes)
        merged = LINKS.join(windows, answers_of(windows)).relations
        assert set(merged) <= set(links)
        assert len(merged) == len(set(merged)) == len(links) - LINKS.num_lost(record, windows)
        assert list(merged) == [link for link in links if link in merged]

    def test_a_link_is_lost_when_its_ends_lie_further_apart_than_a_window(self):
        text = "Iron. " + "Word. " * 10 + "Rash."
        link = Relation("causes", Span(0, 4, ""), Span(66, 70, ""))
        record = Record("n1", {"text": text}, RelationsAnswer((link,)))
        windows = split_record(record, num_words, 6, 2)
        assert LINKS.num_lost(record, windows) == 1
        assert LINKS.num_lost(record, split_record(record, num_words, 12, 2)) == 0
        assert LINKS.num_lost(replace(record, answer=SpansAnswer(())), windows) == 0

    def test_a_mention_in_two_windows_is_taken_from_the_one_where_it_is_further_from_a_cut(self):
        """Cuts at 32 (the end of the first) and at 20 (the beginning of the second).

        22-24 is 8 from the first cut and 2 from the second; 28-31 is 1 and 8 from them.
        """
        first = Window(Record("n1@0", {"text": "x" * 32}), 0, is_first=True, is_last=False)
        second = Window(Record("n1@20", {"text": "x" * 22}), 20, is_first=False, is_last=True)
        found_by_first = SpansAnswer((Span(22, 24, "right"), Span(28, 31, "wrong")), ("zinc",))
        found_by_second = SpansAnswer((Span(2, 4, "wrong"), Span(8, 11, "right")), ("gold", "tin"))
        assert MENTIONS.join([first, second], [found_by_first, found_by_second]) == SpansAnswer(
            (Span(22, 24, "right"), Span(28, 31, "right")), ("zinc", "gold", "tin")
        )

    @pytest.mark.parametrize("listing", [MENTIONS, LINKS])
    def test_the_lines_of_an_unreadable_window_count_as_not_found(self, listing):
        windows = split_record(Record("n1", {"text": "One. Two. Three."}), num_words, 1, 0)
        kind, merge = listing.answer, listing.join
        some = [kind(()), Unparseable("?"), kind((), ("zinc",))]
        assert merge(windows, some) == kind((), ("?", "zinc"))
        some = [kind(()), Unparseable("a\n\nb"), kind((), ("zinc",))]
        assert merge(windows, some) == kind((), ("a", "b", "zinc"))
        some = [kind(()), Unparseable(" "), kind(())]
        assert merge(windows, some) == kind((), ("",))
        assert merge(windows, [Unparseable("?")] * 3) == Unparseable("?\n?\n?")


def test_a_stretch_is_found_where_a_window_starts_before_the_one_in_front_of_it():
    """A window that was halved may do so: its last half starts after the next window."""
    places = [(0, 51), (39, 90), (78, 100), (75, 175)]
    windows = [
        Window(Record("1", {"text": "x" * (end - start)}), start, start == 0, end == 175)
        for start, end in places
    ]
    assert long_windows.Owners(windows).of(76, 120) == 3
    assert long_windows.Owners(windows).of(80, 95) == 3
    assert long_windows.Owners(windows).of(30, 60) is None
