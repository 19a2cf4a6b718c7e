"""Hash the card and the records of a task part by part, and say which parts differ."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

from clinprompt.errors import option
from clinprompt.runs.folder import damaged
from clinprompt.tasks.card import FOUND_IN_RECORDS
from clinprompt.tasks.card_parts import SPLITS
from clinprompt.tasks.load import TaskData

_NOT_HASHED = set(FOUND_IN_RECORDS)


@dataclass(frozen=True, slots=True)
class TaskHashes:
    """A sha256 of a whole task, and short ones of its parts by name."""

    whole: str
    parts: Mapping[str, str]

    @classmethod
    def of(cls, data: TaskData) -> Self:
        """Return the hashes of a task."""
        return cls(_digest_of(data), dict(_parts(data)))

    @classmethod
    def read(cls, value: object, path: Path) -> Self:
        """Return the hashes that ``as_json`` gave, as they are in the file ``path``.

        Raises:
            RunError: they are damaged.
        """
        match value:
            case {"whole": str(whole), "parts": dict(parts)}:
                return cls(whole, parts)
        raise damaged(path)

    def as_json(self) -> dict[str, Any]:
        """Return plain values for ``read``."""
        return {"whole": self.whole, "parts": dict(self.parts)}

    def changed(self, before: Self) -> list[str]:
        """Return the names of the parts that differ from earlier ones."""
        names = [*self.parts, *(name for name in before.parts if name not in self.parts)]
        return [name for name in names if self.parts.get(name) != before.parts.get(name)]


def changed_message(folder: Path, changed: Mapping[str, list[str]]) -> str:
    """Return what changed in which tasks since a run began in a folder, and what to do."""
    what = "; ".join(f"{name} ({', '.join(parts)})" for name, parts in changed.items())
    return (
        f"{folder}: {what} changed since this run began, and its results belong to the earlier "
        f"version; train in a new folder with {option(f'out {_free(folder)}', argument='folder')}, "
        f"or delete {folder} first"
    )


def _free(folder: Path) -> Path:
    """Return a folder that does not exist, named after another one."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(path for path in numbered if not path.exists())


def _parts(data: TaskData) -> Iterator[tuple[str, str]]:
    for key, value in data.card.model_dump(mode="json", exclude=_NOT_HASHED).items():
        inner = {f"{key}.{name}": one for name, one in value.items()} if _is_group(value) else {}
        for name, one in (inner or {key: value}).items():
            yield name, _short(repr(one))
    for split in SPLITS:
        yield f"records of {split}", _short("\n".join(map(repr, data.splits[split])))


def _is_group(value: object) -> bool:
    return isinstance(value, dict) and bool(value)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _digest_of(data: TaskData) -> str:
    """Return a sha256 of a task's card, without what records can tell, and of its records."""
    digest = hashlib.sha256(data.card.model_dump_json(exclude=_NOT_HASHED).encode())
    for split in SPLITS:
        for record in data.splits[split]:
            digest.update(repr(record).encode())
    return digest.hexdigest()
