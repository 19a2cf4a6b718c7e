"""Files open plain, gzipped or from an archive; errors say what is wrong with them."""

import gzip
import io
import tarfile
import zipfile

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.data_files import open_files


def texts(folder, address):
    return [file.text() for file in open_files(folder, address)]


def tar_of(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def test_plain_text_keeps_its_line_ends(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\ntwo\n")
    assert texts(tmp_path, "a.txt") == ["one\r\ntwo\n"]


def test_gzipped_file_is_unpacked(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"note"))
    assert texts(tmp_path, "a.txt.gz") == ["note"]


def test_archive_members_match_a_pattern_in_order(tmp_path):
    members = {"./in/b.txt": b"2", "./in/a.txt.gz": gzip.compress(b"1"), "./out/c.txt": b"3"}
    (tmp_path / "a.tar.gz").write_bytes(tar_of(members))
    assert texts(tmp_path, "a.tar.gz!in/*") == ["1", "2"]
    (file,) = open_files(tmp_path, "a.tar.gz!out/c.txt")
    assert (file.stem, file.name.endswith("a.tar.gz!./out/c.txt")) == ("c", True)


def test_zip_members_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("in/", "")
        archive.writestr("in/a.txt", "1")
    assert texts(tmp_path, "a.zip") == ["1"]


def test_pattern_opens_plain_files_in_order(tmp_path):
    for name in ("b.txt", "a.txt", "._a.txt", "c.md"):
        (tmp_path / name).write_text(name)
    (tmp_path / "d.txt").mkdir()
    assert texts(tmp_path, "*.txt") == ["a.txt", "b.txt"]
    assert [file.place for file in open_files(tmp_path, "[ab].txt")] == ["a.txt", "b.txt"]


def test_file_whose_name_looks_like_a_pattern_is_opened(tmp_path):
    (tmp_path / "a[1].txt").write_text("1")
    assert texts(tmp_path, "a[1].txt") == ["1"]


def test_pattern_without_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"\*\.ann: no file matches"):
        open_files(tmp_path, "*.ann")


def test_sibling_is_found_next_to_a_plain_file(tmp_path):
    (tmp_path / "a.ann").write_text("")
    (tmp_path / "a.txt").write_text("note")
    (file,) = open_files(tmp_path, "a.ann")
    assert file.sibling("a.txt").text() == "note"


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_sibling_is_found_next_to_a_member_in_the_archive(tmp_path, kind):
    members = {"x/a.ann": b"", "x/a.txt": b"note", "a.txt": b"no", "x/b.gz": gzip.compress(b"b")}
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        (tmp_path / "a.tar.gz").write_bytes(tar_of(members))
    (file,) = open_files(tmp_path, f"a.{kind}!*.ann")
    assert file.sibling("a.txt").text() == "note"
    assert file.sibling("a.txt").sibling("b.gz").text() == "b"
    with pytest.raises(DataError, match=r"x/a\.ann: the archive has no 'c\.txt' next to it"):
        file.sibling("c.txt")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a\.txt: no such file"):
        open_files(tmp_path, "a.txt")


def test_pattern_without_member_is_named(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(tar_of({"a.txt": b"1"}))
    with pytest.raises(DataError, match=r"no member matches 'b\*'"):
        open_files(tmp_path, "a.tar.gz!b*")


@pytest.mark.parametrize("name", ["a.txt.gz", "a.tar.gz", "a.zip", "b.txt.gz", "b.tar.gz"])
def test_damaged_archive_is_named(tmp_path, name):
    whole = tar_of({"x": b"1" * 9000}) if "tar" in name else gzip.compress(b"1" * 9000)
    cut = whole[: len(whole) // 2] if name.startswith("b") else b"not packed at all"
    (tmp_path / name).write_bytes(cut)
    with pytest.raises(DataError, match=rf"{name}.*damaged.*fetch the file again"):
        texts(tmp_path, name)


def test_wrong_encoding_is_named_by_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(DataError, match=r"a\.txt:2: byte 7 is not UTF-8"):
        texts(tmp_path, "a.txt")
