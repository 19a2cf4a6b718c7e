"""Annotations written for brat are read back the same, for any text and ids."""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinprompt.errors import DataError
from clinprompt.tasks.kinds.brat_output import write_annotation_conf, write_brat
from clinprompt.tasks.readers.generic.brat import BratReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.records import (
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    Unparseable,
    spans_of,
)

READERS = {
    SpansAnswer: BratReader(name="brat", view={"answer": "entities"}),
    RelationsAnswer: BratReader(name="brat", view={"answer": "relations"}),
}
characters = st.characters(codec="utf-8")
letters = st.sampled_from("ab é\n\r\t;|\\\u2028\x85\x1c\ufeff😀")
texts = st.text(letters | characters, min_size=1, max_size=40)
types = st.sampled_from(["DRUG", "Side-effect", "a:b", "T1", "É"])


@st.composite
def mentions(draw, text):
    """Return mentions that begin and end with something that is no white space."""
    solid = [at for at, character in enumerate(text) if not character.isspace()]
    if not solid:
        return []
    ends = st.tuples(st.sampled_from(solid), st.sampled_from(solid)).map(sorted)
    drawn = draw(st.lists(st.tuples(ends, types), max_size=6))
    return sorted({Span(start, last + 1, kind) for (start, last), kind in drawn})


@st.composite
def records(draw):
    text = draw(texts).lstrip("\ufeff") or "x"
    spans = draw(mentions(text))
    if not spans or draw(st.booleans()):
        return Record("n", {"text": text}, SpansAnswer(tuple(spans)))
    links = st.builds(Relation, types, st.sampled_from(spans), st.sampled_from(spans))
    drawn = draw(st.sets(links, max_size=5))
    return Record("n", {"text": text}, RelationsAnswer(tuple(sorted(drawn))))


def read_back(folder: Path, name: str, reader: BratReader) -> Record:
    (file,) = open_files(folder, f"{name}.ann")
    (record,) = reader.read(file)
    return record


@given(records())
def test_mentions_and_links_are_read_back_the_same(record):
    with TemporaryDirectory() as folder:
        (name,) = write_brat(Path(folder), [record])
        again = read_back(Path(folder), name, READERS[type(record.answer)])
    assert again.text == record.text
    assert again.answer == record.answer


def test_a_pair_of_files_by_hand(tmp_path):
    text = "Took iron\ntablets; rash."
    drug, rash = Span(5, 17, "DRUG"), Span(19, 23, "ADE")
    link = Relation("causes", drug, rash)
    record = Record("n1", {"text": text}, RelationsAnswer((link, link)))
    assert write_brat(tmp_path, [record]) == ("n1",)
    assert (tmp_path / "n1.txt").read_bytes() == text.encode()
    assert (tmp_path / "n1.ann").read_text().splitlines() == [
        "T1\tDRUG 5 9;10 17\tiron tablets",
        "T2\tADE 19 23\trash",
        "R1\tcauses Arg1:T1 Arg2:T2",
    ]


def test_probabilities_are_notes_of_mentions_or_of_links_and_are_not_read(tmp_path):
    """Mentions are written in order of the text, each with its own probability."""
    drug, rash = Span(5, 9, "DRUG"), Span(11, 15, "ADE")
    text = {"text": "Took iron; rash."}
    records = [
        Record("spans", text, SpansAnswer((rash, drug))),
        Record("links", text, RelationsAnswer((Relation("causes", drug, rash),))),
    ]
    write_brat(tmp_path, records, [(0.928, 0.5), (0.071,)])
    assert (tmp_path / "spans.ann").read_text().splitlines()[2:] == [
        "#1\tAnnotatorNotes T1\tprobability 0.50",
        "#2\tAnnotatorNotes T2\tprobability 0.93",
    ]
    assert (tmp_path / "links.ann").read_text().splitlines()[2:] == [
        "R1\tcauses Arg1:T1 Arg2:T2",
        "#1\tAnnotatorNotes R1\tprobability 0.07",
    ]
    for record in records:
        again = read_back(tmp_path, record.id, READERS[type(record.answer)]).answer
        assert set(spans_of(again)) == {drug, rash}


def test_annotation_conf_names_the_types_of_mentions_and_of_the_ends_of_links(tmp_path):
    drug, rash, dose = Span(0, 1, "DRUG"), Span(2, 3, "ADE"), Span(4, 5, "")
    links = (Relation("causes", drug, rash), Relation("causes", drug, dose))
    record = Record("n1", {"text": "a b c"}, RelationsAnswer(links))
    write_annotation_conf(tmp_path, [record], ["causes", "side effect"], are_links=True)
    assert (tmp_path / "annotation.conf").read_text() == (
        "[entities]\nDRUG\nADE\nMention\n\n"
        "[relations]\ncauses\tArg1:DRUG, Arg2:ADE|Mention\n"
        "side_effect\tArg1:<ENTITY>, Arg2:<ENTITY>\n\n"
        "[events]\n\n[attributes]\n"
    )


def test_ends_without_a_type_and_types_with_blanks_get_names_that_brat_takes(tmp_path):
    link = Relation("side effect", Span(0, 1, ""), Span(2, 3, ""))
    record = Record("n1", {"text": "a b"}, RelationsAnswer((link,)))
    (name,) = write_brat(tmp_path, [record])
    (found,) = read_back(tmp_path, name, READERS[RelationsAnswer]).answer.relations
    assert found == Relation("side_effect", Span(0, 1, "Mention"), Span(2, 3, "Mention"))


@pytest.mark.parametrize("answer", [None, SpansAnswer(()), Unparseable("?")])
def test_a_note_without_mentions_has_an_empty_annotation(tmp_path, answer):
    write_brat(tmp_path, [Record("n1", {"text": "fine"}, answer)])
    assert (tmp_path / "n1.ann").read_bytes() == b""


@given(
    st.lists(
        st.text(characters, min_size=1, max_size=8) | st.sampled_from(["a", "A", "../a", "a/"])
    )
)
def test_no_id_gives_a_file_name_that_is_taken_hidden_or_in_another_folder(ids):
    with TemporaryDirectory() as place:
        folder = Path(place) / "out"
        folder.mkdir()
        names = write_brat(folder, [Record(one, {"text": "x"}) for one in ids])
        assert len({name.casefold() for name in names}) == len(ids)
        written = {name + suffix for name in names for suffix in (".ann", ".txt")}
        assert set(os.listdir(folder)) == written  # noqa: PTH208 - names as they are
        assert os.listdir(place) == ["out"]  # noqa: PTH208 - names as they are
        assert not any(name.startswith((".", "_")) for name in names)


def test_a_byte_order_mark_at_the_beginning_moves_no_offset(tmp_path):
    record = Record("n1", {"text": "\ufeffiron"}, SpansAnswer((Span(1, 5, "DRUG"),)))
    (name,) = write_brat(tmp_path, [record])
    assert read_back(tmp_path, name, READERS[SpansAnswer]).text == " iron"
    assert read_back(tmp_path, name, READERS[SpansAnswer]).answer == record.answer


def test_what_cannot_be_written_is_named_by_its_record(tmp_path):
    record = Record("n1", {"text": "a \n"}, SpansAnswer((Span(1, 3, "X"),)))
    with pytest.raises(DataError, match=r"record n1: .*covers no words"):
        write_brat(tmp_path, [record])


def test_white_space_at_the_ends_of_a_mention_is_left_out(tmp_path):
    record = Record("n1", {"text": " iron \n"}, SpansAnswer((Span(0, 7, "DRUG"),)))
    (name,) = write_brat(tmp_path, [record])
    again = read_back(tmp_path, name, READERS[SpansAnswer])
    assert again.answer == replace(record.answer, spans=(Span(1, 5, "DRUG"),))
