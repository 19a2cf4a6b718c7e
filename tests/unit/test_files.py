"""Files and folders are written completely or not at all."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clinprompt import files
from clinprompt.errors import RunError
from clinprompt.files import (
    Claims,
    append_line,
    complete_lines,
    find_folder,
    locked,
    new_file,
    new_folder,
    write_bytes,
    write_text,
)


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


def test_a_name_that_is_taken_is_not_said_to_be_a_full_disk(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "inside"):
        with pytest.raises(RunError, match=r"could not be written .*; choose another name"):
            write_text(path, "x")


def test_a_line_that_cannot_be_written_is_removed_again(tmp_path, full_disk):
    path = tmp_path / "log"
    path.write_text("one\n")
    with pytest.raises(RunError):
        append_line(path, "two")
    assert path.read_text() == "one\n"


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


@pytest.fixture
def no_exchange(monkeypatch):
    """A system that cannot exchange two folders in one step."""
    monkeypatch.setattr(files, "_exchange", lambda *_: False)


def test_a_swap_that_fails_halfway_leaves_the_earlier_folder(tmp_path, monkeypatch, no_exchange):
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
    assert names(tmp_path) == ["f"]


def test_a_new_folder_replaces_the_old_one_by_two_renames(tmp_path, no_exchange):
    test_a_new_folder_replaces_the_old_one(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="needs the renameat2 of Linux")
def test_a_folder_is_replaced_in_one_step(tmp_path, monkeypatch):
    """Its name is never empty: no folder is renamed to a name that is free."""
    old_folder(tmp_path)
    monkeypatch.delattr(Path, "rename")
    with new_folder(tmp_path / "f") as draft:
        write_text(draft / "new", "new")
    assert names(tmp_path / "f") == ["new"]
    assert names(tmp_path) == ["f"]


_IS_KILLED_BETWEEN_TWO_RENAMES = """
import os, signal, sys
from pathlib import Path
from clinprompt import files
files._exchange = lambda *_: False
path, rename = Path(sys.argv[1]), Path.rename
def killed(self, target):
    if target == path:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = killed
with files.new_folder(path) as draft:
    (draft / "new").write_text("new")
"""


@pytest.mark.parametrize("reader", [find_folder, old_folder])
def test_a_folder_whose_process_was_killed_between_two_renames_comes_back(tmp_path, reader):
    old_folder(tmp_path)
    command = [sys.executable, "-c", _IS_KILLED_BETWEEN_TWO_RENAMES, tmp_path / "f"]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "f").exists()
    if reader is find_folder:
        assert names(find_folder(tmp_path / "f")) == ["new"]
    else:
        old_folder(tmp_path)
        assert names(tmp_path / "f") == ["old"]
    assert names(tmp_path) == ["f"]


@pytest.fixture
def events(monkeypatch):
    """Return what was waited for on the disk, by inode, and what was renamed, in order."""
    found = []

    def recorded(function, word, inode):
        def call(*given):
            found.append((word, inode(given[0])))
            return function(*given)

        return call

    monkeypatch.setattr(os, "fsync", recorded(os.fsync, "sync", lambda fd: os.fstat(fd).st_ino))
    for name in ("rename", "replace"):
        own = recorded(getattr(Path, name), "rename", lambda path: path.stat().st_ino)
        monkeypatch.setattr(Path, name, own)
    return found


def inode(path):
    return path.stat().st_ino


def test_a_file_and_then_its_name_are_on_the_disk_when_it_is_written(tmp_path, events):
    path = tmp_path / "new" / "a.txt"
    write_text(path, "a")
    expected = ["sync", inode(tmp_path)], ["sync", inode(path)], ["rename", inode(path)]
    assert [list(event) for event in events] == [*expected, ["sync", inode(path.parent)]]


def test_a_large_file_and_then_its_name_are_on_the_disk_when_it_is_written(tmp_path, events):
    path = tmp_path / "a.txt"
    with new_file(path) as draft:
        draft.write_text("a")
    expected = ("sync", inode(path)), ("rename", inode(path)), ("sync", inode(tmp_path))
    assert events == [*expected]


def test_a_folder_with_all_in_it_is_on_the_disk_before_its_name_is(tmp_path, events):
    path = tmp_path / "f"
    with new_folder(path) as draft:
        (draft / "inner").mkdir()
        (draft / "inner" / "a.txt").write_text("a")
    inside = {("sync", inode(one)) for one in (path, path / "inner", path / "inner" / "a.txt")}
    assert set(events[:-2]) == inside
    assert events[-2:] == [("rename", inode(path)), ("sync", inode(tmp_path))]


def test_the_name_of_a_new_log_is_on_the_disk_with_its_first_line(tmp_path, events):
    path = tmp_path / "log"
    append_line(path, "one")
    assert events == [("sync", inode(path)), ("sync", inode(tmp_path))]
    append_line(path, "two")
    assert events[2:] == [("sync", inode(path))]


def test_a_new_folder_may_be_read_by_others(tmp_path):
    old_folder(tmp_path)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o755


_WRITES_AND_WAITS = """
import sys, time
from pathlib import Path
from clinprompt.files import new_folder
with new_folder(Path(sys.argv[1])) as draft:
    (draft / "note.txt").write_text("a note")
    print("written", flush=True)
    time.sleep(60)
"""


def start_writing(path):
    """Start a process that is in the middle of a new folder when this returns."""
    command = [sys.executable, "-c", _WRITES_AND_WAITS, path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "written\n"
    return process


@pytest.mark.slow
def test_the_draft_of_a_killed_process_is_removed_by_the_next(tmp_path):
    with start_writing(tmp_path / "f") as process:
        process.kill()
    assert len(names(tmp_path)) == 1, "nothing can clean up after kill -9"
    (tmp_path / ".other.x.draft" / "content").mkdir(parents=True)
    old_folder(tmp_path)
    assert names(tmp_path) == [".other.x.draft", "f"]


@pytest.mark.slow
def test_the_draft_of_a_living_process_stays(tmp_path):
    with start_writing(tmp_path / "f") as process:
        old_folder(tmp_path)
        drafts = [path for path in tmp_path.iterdir() if path.name != "f"]
        assert [names(draft / "content") for draft in drafts] == [["note.txt"]]
        process.send_signal(signal.SIGKILL)


@pytest.mark.slow
def test_work_in_a_folder_is_done_by_one_process_at_a_time(tmp_path):
    """Another process adds to a number that this one is changing, and waits for it."""
    number = tmp_path / "number"
    number.write_text("0")
    add = (
        "import sys; from pathlib import Path; from clinprompt.files import locked\n"
        "path = Path(sys.argv[1]); print('here', flush=True)\n"
        "with locked(path.with_name('lock'), wait=True):\n"
        "    path.write_text(str(int(path.read_text()) + 1))"
    )
    with locked(tmp_path / "lock", wait=True):
        before = int(number.read_text())
        command = [sys.executable, "-c", add, str(number)]
        other = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert other.stdout.read(4) == b"here"
        time.sleep(0.3)
        number.write_text(str(before + 1))
    assert other.wait(timeout=60) == 0
    other.stdout.close()
    assert number.read_text() == "2"


_CLAIMS_AND_WAITS = """
import sys, time
from pathlib import Path
from clinprompt.files import Claims
with Claims(Path(sys.argv[1])).claim("a cell") as is_ours:
    print(is_ours, flush=True)
    time.sleep(60)
"""


def start_claiming(folder):
    command = [sys.executable, "-c", _CLAIMS_AND_WAITS, folder]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_a_claim_is_of_one_process_and_ends_when_it_is_killed(tmp_path):
    process, answer = start_claiming(tmp_path / "claims")
    with process:
        assert answer == "True"
        with Claims(tmp_path / "claims").claim("a cell") as is_ours:
            assert not is_ours
        with Claims(tmp_path / "claims").claim("another cell") as is_ours:
            assert is_ours
        process.kill()
    with Claims(tmp_path / "claims").claim("a cell") as is_ours:
        assert is_ours


def test_whoever_waits_for_a_claim_gets_it_when_the_other_process_ends(tmp_path):
    process, _ = start_claiming(tmp_path / "claims")
    with process:
        threading.Timer(0.3, process.kill).start()
        with Claims(tmp_path / "claims").claim("a cell", wait=True) as is_ours:
            assert is_ours
            assert process.wait(timeout=60) != 0


def test_a_new_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "inner" / "table.csv"
    with new_file(path) as draft:
        draft.write_text("a")
        assert not path.exists()
    assert path.read_text() == "a"
    assert list(path.parent.iterdir()) == [path]


def test_a_new_file_that_fails_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("earlier")

    def fail():
        with new_file(path) as draft:
            draft.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_an_incomplete_last_line_is_told_from_complete_ones(tmp_path):
    path = tmp_path / "log"
    assert complete_lines(path) == ([], b"")
    path.write_bytes(b"")
    assert complete_lines(path) == ([], b"")
    path.write_bytes(b"a\n\nb\n")
    assert complete_lines(path) == ([b"a", b"", b"b"], b"")
    path.write_bytes("a\nµ".encode()[:-1])  # cut within a character
    assert complete_lines(path) == ([b"a"], b"\xc2")
