"""The tasks of a workspace: read, made and removed. Runs no model."""

import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from clinprompt.errors import ClinpromptError, SettingError
from clinprompt.files import new_folder, remove_folder, removing, write_text
from clinprompt.prompts.artifact import Artifact
from clinprompt.prompts.find_prompt import MANIFEST
from clinprompt.serving.teaching.new_card import FieldError, NewTask, card_text, parse_card
from clinprompt.serving.teaching.places import (
    START_AGAIN,
    Places,
    is_name,
    move_away,
    moved,
    open_folder,
    remove_moved,
    task_folders,
)
from clinprompt.serving.teaching.task import TaughtTask
from clinprompt.tasks.card import TaskCard


class NameTakenError(FieldError):
    """Signal that another task has the name of a new one."""


class TaughtTasks:
    """All tasks of a workspace by name, and the store that their prompts are served from."""

    def __init__(self, root: Path, store: Path, start: Callable[[TaskCard], Artifact]) -> None:
        """Open a workspace; make it if it is missing. Every task gets a prompt if it has none.

        ``start`` returns the prompt that a task starts from.

        Raises:
            SettingError: the folder has something else in it, or the store is a single prompt.
            DataError: a task is damaged.
            ArtifactError: a prompt is damaged.
            RunError: a run is damaged, or a file cannot be written.
        """
        if (store / MANIFEST).is_file():
            raise SettingError(
                f"{store}: is a single prompt, and a workspace needs a store for several; leave it "
                "out, or name the folder above it"
            )
        open_folder(root)
        remove_moved(store)
        self.root, self.store, self._start = root, store, start
        self._tasks: dict[str, TaughtTask] = {}
        for folder in task_folders(root):
            self._open(folder)

    def _open(self, folder: Path) -> TaughtTask:
        task = TaughtTask(folder, self.store)
        task.prompts.ensure_served(lambda: self._start(task.card))
        self._tasks[task.name] = task
        return task

    def __iter__(self) -> Iterator[TaughtTask]:
        return iter(self._tasks.values())

    def __contains__(self, one: str | TaughtTask) -> bool:
        return one in self._tasks or one in self._tasks.values()

    def __getitem__(self, name: str) -> TaughtTask:
        return self._tasks[name]

    @property
    def names(self) -> list[str]:
        """Return the names of all tasks."""
        return list(self._tasks)

    def make(self, new: NewTask, *, taken: Collection[str]) -> TaughtTask:
        """Make a task, and put the prompt that it starts from into the store.

        ``taken`` are the names of other tasks that are served.

        Raises:
            FieldError: a value cannot be used.
            SettingError: the metaprompt has no source task of this type.
            RunError: a file cannot be written.
        """
        text = card_text(new)
        used = {name.casefold() for name in (*self._tasks, *taken)}
        folder = self.root / new.name
        if new.name.casefold() in used or folder.exists():
            raise NameTakenError("name", "is that of another task; choose another")
        self._start(parse_card(text))  # fails before anything is written
        with new_folder(folder) as draft:
            write_text(Places(draft).card, text, is_private=True)
        try:
            return self._open(folder)
        except (ClinpromptError, OSError):  # the same request may come again
            for path in self._folders(new.name):
                shutil.rmtree(path, ignore_errors=True)
            raise

    def has_rest_of(self, name: str) -> bool:
        """Return whether a part of a removed task could not be removed."""
        return is_name(name) and any(moved(one).exists() for one in self._folders(name))

    def remove(self, name: str) -> None:
        """Remove a task with everything that belongs to it, also from the store.

        Its folders are moved away first, all or none, so it is either a whole task or none. What
        is moved away but not removed is removed when this is repeated, or at the next start.

        Raises:
            NotRemovedError: a file or folder cannot be removed.
        """
        if name in self._tasks:
            self._remove_rest(name)  # of an earlier task of this name
            with removing(str(self.root / name), then="remove the task again"):
                move_away(self._folders(name))
            del self._tasks[name]
        self._remove_rest(name)

    def _remove_rest(self, name: str) -> None:
        for folder in self._folders(name):
            remove_folder(moved(folder), then=f"remove the task again, or {START_AGAIN}")

    def _folders(self, name: str) -> tuple[Path, Path]:
        return self.root / name, self.store / name
