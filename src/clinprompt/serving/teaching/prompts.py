"""Keep every prompt of a task, and put one of them into the store that is served.

Owns ``prompts/`` and ``served.json``. Version 0 is the prompt that was not trained; version N is
what run N made. ``served.json`` lists the versions that were served, the one of now last.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinprompt.errors import DataError, SettingError
from clinprompt.files import write_text
from clinprompt.prompts.artifact import Artifact, load_artifact, save_artifact
from clinprompt.prompts.find_prompt import MANIFEST
from clinprompt.serving.teaching.notes import Note
from clinprompt.serving.teaching.places import Places, make_private

_DIGITS = 16  # of a content hash, by which a prompt is named


@dataclass(frozen=True, slots=True)
class KeptPrompt:
    """A prompt: its version, its name, its folder, and the notes that it was trained on.

    ``contents`` are digests of these notes, by which one is known that was removed and came back.
    """

    version: int
    digest: str
    folder: Path
    notes: tuple[int, ...]
    contents: tuple[str, ...] = ()

    def was_trained_on(self, note: Note) -> bool:
        """Return whether the prompt was trained on a note, or on one with the same content."""
        return note.number in self.notes or note.digest in self.contents

    def values(self) -> dict[str, Any]:
        """Return the prompt for a client; ``corrections`` counts those that it was trained on."""
        return {
            "version": self.version,
            "prompt": self.digest,
            "corrections": len(self.notes),
        }


def digest_of(artifact: Artifact) -> str:
    """Return the name of a prompt: the beginning of its content hash."""
    return artifact.manifest.content_hash[:_DIGITS]


class KeptPrompts:
    """All prompts of one task, by version."""

    def __init__(self, places: Places, store: Path) -> None:
        """Read which prompts there are, and which is in the store.

        Raises:
            ArtifactError: the prompt in the store is damaged.
            DataError: a list is damaged.
            RunError: which prompt is in the store cannot be written.
        """
        self._places, self._stored = places, store / places.folder.name
        found = (_read(path) for path in places.prompts.glob("*.json"))
        self._kept = {one.version: one for one in sorted(found, key=lambda one: one.version)}
        self._history: list[int] = self._served_before()
        self._take_from_store()

    def _served_before(self) -> list[int]:
        path = self._places.served
        listed = _values(path)["versions"] if path.is_file() else []
        return [version for version in listed if version in self._kept]

    def _take_from_store(self) -> None:
        """Believe the store: a server that was killed may have written it and not the list.

        A prompt that somebody else put there becomes a version of its own.
        """
        if not (self._stored / MANIFEST).is_file():
            return
        artifact = load_artifact(self._stored)
        known = self.named(digest_of(artifact))
        if known is None:
            known = self.keep(1 + max(self._kept, default=0), artifact, ())
        if self.served is None or self.served.digest != known.digest:
            self._history.append(known.version)
            self._write_served(self._history)

    def __iter__(self) -> Iterator[KeptPrompt]:
        return iter(self._kept.values())

    def __contains__(self, version: int) -> bool:
        return version in self._kept

    def __getitem__(self, version: int) -> KeptPrompt:
        return self._kept[version]

    def get(self, version: int) -> KeptPrompt | None:
        """Return a prompt by its version, or None."""
        return self._kept.get(version)

    def named(self, digest: str) -> KeptPrompt | None:
        """Return the prompt with a digest; None if it is none of the task."""
        return next((one for one in reversed(self._kept.values()) if one.digest == digest), None)

    @property
    def served(self) -> KeptPrompt | None:
        """Return the prompt that is in the store; None before there is one."""
        return self._kept[self._history[-1]] if self._history else None

    @property
    def history(self) -> list[int]:
        """Return the versions that were served, the one of now last."""
        return list(self._history)

    @property
    def before(self) -> KeptPrompt | None:
        """Return the prompt that was served before the one of now, if any."""
        return self._kept[self._history[-2]] if len(self._history) > 1 else None

    def ensure_served(self, make: Callable[[], Artifact]) -> None:
        """Put a prompt into the store if there is none: the last one served, or that of ``make``.

        Raises:
            RunError: it cannot be written.
        """
        if self.served is None:
            if 0 not in self:
                self.keep(0, make(), ())
            self.use(0)
        elif not (self._stored / MANIFEST).is_file():
            self._put(self._history)

    def keep(self, version: int, artifact: Artifact, notes: Sequence[Note]) -> KeptPrompt:
        """Keep a prompt, which is not served yet, with the notes that it was trained on.

        Raises:
            RunError: it cannot be written.
        """
        make_private(self._places.prompts)
        folder = self._places.prompts / str(version)
        save_artifact(folder, artifact)
        numbers, contents = (note.number for note in notes), (note.digest for note in notes)
        kept = KeptPrompt(version, digest_of(artifact), folder, tuple(numbers), tuple(contents))
        about = {
            "version": version,
            "prompt": kept.digest,
            "notes": kept.notes,
            "contents": kept.contents,
        }
        write_text(folder.with_suffix(".json"), json.dumps(about) + "\n", is_private=True)
        self._kept[version] = kept
        return kept

    def use(self, version: int) -> None:
        """Put a prompt into the store.

        Raises:
            ArtifactError: the prompt is damaged.
            RunError: it cannot be written.
        """
        self._put([*self._history, version])

    def undo(self) -> None:
        """Put the prompt that was served before into the store.

        Raises:
            SettingError: there is none.
            ArtifactError: the prompt is damaged.
            RunError: it cannot be written.
        """
        if self.before is None:
            raise SettingError("no other prompt was served before, so nothing can be undone")
        self._put(self._history[:-1])

    def put_back(self, history: list[int]) -> None:
        """Put the last of these versions into the store, as if no other had been used since.

        Raises:
            RunError: it cannot be written.
        """
        self._put(history) if history else self.remove_from_store()

    def remove_from_store(self) -> None:
        """Remove the task's prompt from the store."""
        shutil.rmtree(self._stored, ignore_errors=True)

    def _put(self, history: list[int]) -> None:
        save_artifact(self._stored, load_artifact(self._kept[history[-1]].folder))
        self._write_served(history)
        self._history = history

    def _write_served(self, history: Sequence[int]) -> None:
        text = json.dumps({"versions": list(history)}) + "\n"
        write_text(self._places.served, text, is_private=True)


def _read(path: Path) -> KeptPrompt:
    values = _values(path)
    folder = path.with_suffix("")
    notes, contents = tuple(values["notes"]), tuple(values.get("contents", ()))
    return KeptPrompt(values["version"], values["prompt"], folder, notes, contents)


def _values(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}: is damaged; copy it again, or remove the task's folder"
        ) from error
