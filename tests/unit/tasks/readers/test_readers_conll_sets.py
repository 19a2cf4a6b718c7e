"""Each way in which a published set of tagged tokens differs from plain IOB2 is read."""

import io
import tarfile
from pathlib import Path

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.conll import ConllReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.records import Record


def packed(path: Path, members: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            archive.addfile(member, io.BytesIO(content.encode()))


def read(reader: ConllReader, folder: Path, address: str) -> list[Record]:
    return [record for file in open_files(folder, address) for record in reader.read(file)]


def mentions(record: Record) -> list[tuple[str, str]]:
    return [(record.text[span.start : span.end], span.type) for span in record.answer.spans]


def test_one_file_per_text_gives_one_record_each_with_a_separate_id(tmp_path):
    lines = "weak B-nervous_AE\nlegs I-nervous_AE\nafter O\n"
    packed(tmp_path / "a.tar.gz", {"set/train/0.bio": lines, "set/test/0.bio": lines})
    reader = ConllReader(name="conll", separator="blank")
    first, second = read(reader, tmp_path, "a.tar.gz!set/*.bio")
    assert (first.id, second.id) == ("set/test/0:1", "set/train/0:1")
    assert mentions(first) == [("weak legs", "nervous_AE")]


def test_span_that_begins_with_an_inside_tag_is_kept(tmp_path):
    (tmp_path / "a.bio").write_text("fever I-other_AE\nand O\nscan I-investigation\n")
    (record,) = read(ConllReader(name="conll", separator="blank"), tmp_path, "a.bio")
    assert mentions(record) == [("fever", "other_AE"), ("scan", "investigation")]


def test_types_may_hold_dots_and_tokens_are_lower_case_as_given(tmp_path):
    (tmp_path / "a.tsv").write_text("for\tO\ntwo\tB-hpi.duration\ndays\tI-hpi.duration\n")
    (record,) = read(ConllReader(name="conll"), tmp_path, "a.tsv")
    assert mentions(record) == [("two days", "hpi.duration")]


def test_io_tags_join_mentions_of_one_type_that_touch(tmp_path):
    lines = "-DOCSTART- (1)\n\nmen NN O I-PAR\naged NN O I-PAR\npain NN O I-OUT\n\n\n"
    (tmp_path / "a.txt").write_text(lines + lines.replace("(1)", "(2)"))
    reader = ConllReader(name="conll", separator="blank", tag=3)
    first, second = read(reader, tmp_path, "a.txt")  # blank lines in a row make no sentence
    assert mentions(first) == [("men aged", "PAR"), ("pain", "OUT")]
    assert first.group != second.group


def test_tags_of_another_scheme_are_refused(tmp_path):
    (tmp_path / "a.tsv").write_text("rash\tQ-X\n")
    with pytest.raises(DataError, match=r"a\.tsv:1: the tag must be one of"):
        read(ConllReader(name="conll"), tmp_path, "a.tsv")
