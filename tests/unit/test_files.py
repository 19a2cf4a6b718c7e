"""Files and folders are there whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from clinprompt.errors import RunError
from clinprompt.files import append_line, new_folder, write_bytes, write_text


@pytest.fixture
def full_disk(monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_with_its_folders(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "é")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"\xc3\xa9"
    assert names(tmp_path / "a") == ["b.txt"]


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, full_disk):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RunError, match=r"a\.txt: could not be written \(No space left"):
        write_bytes(path, b"new and longer")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_failed_append_is_a_run_error(tmp_path, full_disk):
    with pytest.raises(RunError, match="free some space"):
        append_line(tmp_path / "log", "x")


def test_lines_are_appended_after_a_half_written_one_is_cut(tmp_path):
    path = tmp_path / "log"
    append_line(path, "one")
    with path.open("a") as stream:
        stream.write("half")
    append_line(path, "two")
    assert path.read_text() == "one\ntwo\n"


def test_a_lonely_half_line_is_cut(tmp_path):
    path = tmp_path / "log"
    path.write_text("half")
    append_line(path, "one")
    assert path.read_text() == "one\n"


def test_a_new_folder_replaces_the_old_one(tmp_path):
    for content in ("old", "new"):
        with new_folder(tmp_path / "f") as draft:
            write_text(draft / content, content)
    assert names(tmp_path / "f") == ["new"]
    assert names(tmp_path) == ["f"]


def old_folder(path):
    with new_folder(path / "f") as draft:
        write_text(draft / "old", "old")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_earlier_folder(tmp_path, error):
    old_folder(tmp_path)

    def fail():
        with new_folder(tmp_path / "f") as draft:
            write_text(draft / "new", "new")
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path / "f") == ["old"]
    assert names(tmp_path) == ["f"]


def test_a_full_disk_leaves_the_earlier_folder(tmp_path, full_disk, monkeypatch):
    with monkeypatch.context() as patch:
        patch.undo()
        (tmp_path / "f").mkdir()
    (tmp_path / "f" / "old").write_text("old")
    with pytest.raises(RunError, match="No space left"), new_folder(tmp_path / "f") as draft:
        write_text(draft / "new", "new")
    assert names(tmp_path / "f") == ["old"]
    assert names(tmp_path) == ["f"]


def test_a_swap_that_fails_halfway_leaves_the_earlier_folder(tmp_path, monkeypatch):
    old_folder(tmp_path)
    rename = Path.rename

    def fail_for_drafts(self, target):
        if target == tmp_path / "f" and (self / "new").exists():
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_drafts)
    with pytest.raises(RunError), new_folder(tmp_path / "f") as draft:
        write_text(draft / "new", "new")
    assert names(tmp_path / "f") == ["old"]


def test_a_new_folder_may_be_read_by_others(tmp_path):
    old_folder(tmp_path)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o755
