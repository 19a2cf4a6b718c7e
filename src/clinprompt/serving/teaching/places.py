"""Find the files of a workspace, and keep them private. Knows nothing of what they contain.

::

    DIR/store/                     the prompts that are served, if no other store is named
    DIR/TASK/card.toml             the task; `clinprompt adapt DIR/TASK` reads it, too
    DIR/TASK/train.jsonl           the corrections as records of the task, written from the log
    DIR/TASK/corrections.jsonl     the log: what was offered, corrected, skipped and undone
    DIR/TASK/notes.jsonl           the notes to be corrected
    DIR/TASK/prompts/NUMBER/       every prompt of the task: 0 is the untrained one, N that of run N
    DIR/TASK/served.json           which of them were served, the one of now last
    DIR/TASK/runs/NUMBER/          an adaptation
"""

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clinprompt.errors import SettingError
from clinprompt.files import locked, remove_folder, removing, writing

STORE = "store"
CARD = "card.toml"
_RESERVED = frozenset({STORE, "metaprompts"})  # folders of a workspace and of a store
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PRIVATE = 0o700
_REMOVED = ".removed"
START_AGAIN = "start the server again"
ABOUT = "about.json"  # of a run


@dataclass(frozen=True, slots=True)
class Places:
    """Where the parts of one task are."""

    folder: Path

    @property
    def card(self) -> Path:
        """Return the file of the card."""
        return self.folder / CARD

    @property
    def train(self) -> Path:
        """Return the file of training records."""
        return self.folder / "train.jsonl"

    @property
    def log(self) -> Path:
        """Return the file of corrections."""
        return self.folder / "corrections.jsonl"

    @property
    def notes(self) -> Path:
        """Return the file of notes."""
        return self.folder / "notes.jsonl"

    @property
    def prompts(self) -> Path:
        """Return the folder of all prompts."""
        return self.folder / "prompts"

    @property
    def served(self) -> Path:
        """Return the file that says which prompts were served."""
        return self.folder / "served.json"

    @property
    def runs(self) -> Path:
        """Return the folder of all adaptations."""
        return self.folder / "runs"


@contextmanager
def claimed(root: Path) -> Iterator[None]:
    """Keep other servers out of a workspace until the block or the process ends.

    Raises:
        SettingError: another server uses it, or the folder has something else in it.
        RunError: the folder cannot be written.
    """
    _check_folder(root)
    make_private(root)
    lock = root / ".server.lock"
    lock.touch(mode=0o600)
    with locked(lock, wait=False) as is_ours:
        if not is_ours:
            raise SettingError(
                f"--workspace {root}: another server uses this workspace; stop it, or name another "
                "folder"
            )
        yield


def open_folder(root: Path) -> None:
    """Make the folder of a workspace, or check that a folder is one; only its owner may use it.

    Raises:
        SettingError: it is a file, or has something else in it.
        NotRemovedError: what is left of a removed task cannot be removed.
    """
    _check_folder(root)
    make_private(root)
    remove_moved(root)


def remove_moved(root: Path) -> None:
    """Remove folders that a server moved away, and did not remove before it ended.

    Raises:
        NotRemovedError: a file cannot be removed.
    """
    for path in root.glob(f".*{_REMOVED}"):
        remove_folder(path, then=START_AGAIN)


def _check_folder(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise SettingError(f"--workspace {root}: is a file; name a folder")
    others = [
        path.name
        for path in (root.iterdir() if root.is_dir() else ())
        if not (path.name.startswith(".") or path.name == STORE or Places(path).card.is_file())
    ]
    if others:
        raise SettingError(
            f"--workspace {root}: has other files than tasks ({min(others)}); name a new or empty "
            "folder"
        )


def remove_leftovers(places: Places) -> None:
    """Remove what a killed server left of a task: drafts of files, and runs that it did not note.

    Raises:
        NotRemovedError: a file cannot be removed.
    """
    with removing(f"{places.folder}: old files", then=START_AGAIN):
        for pattern in (".*.part", "runs/*/task/.*.part"):
            for path in places.folder.glob(pattern):
                path.unlink()
        for run in places.runs.glob("*"):
            if not (run / ABOUT).is_file():
                shutil.rmtree(run)


def moved(folder: Path) -> Path:
    """Return where a folder is moved to before it is removed; it is no task or prompt any more."""
    return folder.with_name(f".{folder.name}{_REMOVED}")


def move_away(folders: Iterable[Path]) -> None:
    """Move folders away, those that there are: all of them or none.

    Raises:
        OSError: one cannot be moved.
    """
    done: list[Path] = []
    try:
        for folder in folders:
            if folder.exists():
                folder.rename(moved(folder))
                done.append(folder)
    except OSError:
        for folder in done:
            moved(folder).rename(folder)
        raise


def make_private(folder: Path) -> None:
    """Make a folder, and let only its owner use it.

    Raises:
        RunError: it cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
        folder.chmod(_PRIVATE)


def is_name(name: str) -> bool:
    """Return whether a task may have this name: that of a folder directly below the workspace."""
    return bool(_NAME.fullmatch(name)) and name.casefold() not in _RESERVED


def task_folders(root: Path) -> list[Path]:
    """Return the folders of all tasks, in order of their names."""
    return sorted(path.parent for path in root.glob("*/card.toml"))
