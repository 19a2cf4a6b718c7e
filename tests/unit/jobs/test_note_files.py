"""Notes are found one after the other; a damaged one raises an error only when it is read."""

import json

import pytest

from clinprompt.errors import DataError
from clinprompt.jobs import note_files
from clinprompt.jobs.note_files import digest_of, raw_notes, read_notes


def write(path, *lines):
    path.write_bytes(b"".join(lines))
    return path


def test_a_damaged_line_raises_when_it_is_read_and_the_others_do_not(tmp_path):
    path = write(
        tmp_path / "n.jsonl", b'{"text": "a"}\n', b"\xff\n", b"[" * 9999, b'\n{"text": "b"}'
    )
    first, latin, nested, last = raw_notes(path)
    assert (first.read().text, last.read().text, last.number) == ("a", "b", 4)
    with pytest.raises(DataError, match=r"n\.jsonl:2: not UTF-8"):
        latin.read()
    with pytest.raises(DataError, match=r"n\.jsonl:3: not JSON"):
        nested.read()


def test_blank_lines_count_except_at_the_end(tmp_path):
    path = write(tmp_path / "n.jsonl", b'\n{"text": "a"}\n \r\n{"text": "b"}\n\n\n')
    assert [(one.number, one.is_blank) for one in raw_notes(path)] == [
        (1, True),
        (2, False),
        (3, True),
        (4, False),
    ]
    assert digest_of(path).num_notes == 4


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_over_the_limit_is_not_kept_and_the_next_has_its_number(tmp_path, monkeypatch, end):
    monkeypatch.setattr(note_files, "MAX_NOTE_BYTES", 20)
    long = json.dumps({"text": "x" * 50}).encode()
    path = write(tmp_path / "n.jsonl", b'{"text": "abcdefg"}', b"\n", long, b"\n", long, end)
    assert len(b'{"text": "abcdefg"}\n') == 20
    numbers, errors = [], []
    for one in raw_notes(path):
        numbers.append(one.number)
        with pytest.raises(DataError) as raised:
            one.read()
        errors.append(str(raised.value))
    assert numbers == [1, 2, 3]
    assert all("larger than" in error for error in errors)
    monkeypatch.setattr(note_files, "MAX_NOTE_BYTES", 21)
    assert next(raw_notes(path)).read().text == "abcdefg"


def test_a_text_file_over_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(note_files, "MAX_NOTE_BYTES", 20)
    [note] = raw_notes(write(tmp_path / "n.txt", b"x" * 21))
    with pytest.raises(DataError, match="larger than"):
        note.read()


def test_the_digest_changes_with_contents_and_names(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    write(folder / "a.txt", b"one")
    write(folder / "b.txt", b"two")
    before = digest_of(folder)
    assert (before.num_bytes, before.num_notes) == (6, 2)
    write(folder / "b.txt", b"owt")
    changed = digest_of(folder)
    (folder / "b.txt").rename(folder / "c.txt")
    renamed = digest_of(folder)
    assert len({before.sha256, changed.sha256, renamed.sha256}) == 3


def test_a_damaged_or_empty_parquet_file_is_named(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match=r"n\.parquet: not a Parquet file"):
        list(read_notes(write(tmp_path / "n.parquet", b"no such thing")))
    parquet.write_table(
        pyarrow.table({"text": pyarrow.array([], "string")}), tmp_path / "e.parquet"
    )
    with pytest.raises(DataError, match="holds no notes"):
        list(read_notes(tmp_path / "e.parquet"))


def test_columns_that_are_no_texts_are_left_out(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    rows = [{"id": 7, "text": "a", "age": 50, "options": None}, {"id": None, "text": "b"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "n.parquet")
    first, second = read_notes(tmp_path / "n.parquet")
    assert (first.id, first.fields, first.options) == ("7", {"text": "a"}, ())
    assert (second.id, second.fields) == ("2", {"text": "b"})
