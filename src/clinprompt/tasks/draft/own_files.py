"""Find a user's data files, their format, and the split that each belongs to.

Does not open the files. A file belongs to a split if its name, or the name of a folder above it,
contains a word such as train, dev, valid or test.
"""

import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from clinprompt.errors import DataError, number_of
from clinprompt.tasks.card import TaskType
from clinprompt.tasks.card_parts import SPLITS, Split
from clinprompt.tasks.readers.generic.data_files import DataFile, open_files

FileKind = Literal["jsonl", "table", "conll", "brat", "label_studio"]

_KINDS: Mapping[str, FileKind] = {
    ".jsonl": "jsonl",
    ".json": "label_studio",
    ".csv": "table",
    ".tsv": "table",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".ann": "brat",
}
_MOST_NAMED = 5  # files that are named one by one
_WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "devel": "validation",
    "development": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """Data files of one format: for each split, their paths relative to ``root``.

    ``unannotated`` are the texts in a folder of brat files that have no ``.ann``; they are not
    used.
    """

    root: Path
    kind: FileKind
    files: Mapping[Split, tuple[str, ...]]
    unannotated: tuple[str, ...] = ()

    def addresses(self, split: Split) -> tuple[str, ...]:
        """Return the entries for ``files`` of a card: files, or a pattern for many in a folder.

        Files of brat have a pattern per folder; others if a folder has more than a few files and
        all files with their ending belong to the split.
        """
        paths = self.files.get(split, ())
        if len(paths) == 1:
            return paths
        addresses: list[str] = []
        for pattern, matching in _by_pattern(paths).items():
            is_short = self.kind == "brat" or (
                len(matching) > _MOST_NAMED and self._matches_only(pattern, matching)
            )
            addresses += [pattern] if is_short else matching
        return tuple(addresses)

    def _matches_only(self, pattern: str, paths: Sequence[str]) -> bool:
        found = (path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))
        return set(found) == set(paths)

    def shown(self, split: Split) -> str:
        """Return the files of a split for a message: names, or patterns with numbers of files."""
        paths = self.files.get(split, ())
        if len(paths) <= _MOST_NAMED and self.kind != "brat":
            return ", ".join(paths)
        patterns = _by_pattern([*_texts(paths), *paths] if self.kind == "brat" else paths)
        parts = [f"{pattern} {len(own):,}" for pattern, own in patterns.items()]
        rest = [f"and {len(parts) - _MOST_NAMED:,} more patterns"] if parts[_MOST_NAMED:] else []
        return ", ".join([*parts[:_MOST_NAMED], *rest])

    def copied(self) -> tuple[str, ...]:
        """Return the paths of all files of the data, including the texts of brat files."""
        paths = [path for split in SPLITS for path in self.files.get(split, ())]
        if self.kind == "brat":
            paths += _texts(paths)
        return tuple(paths)


def _texts(annotations: Iterable[str]) -> list[str]:
    return [f"{path.removesuffix('.ann')}.txt" for path in annotations]


def _by_pattern(paths: Iterable[str]) -> dict[str, list[str]]:
    """Return the paths by a pattern for their folder and their ending."""
    found: dict[str, list[str]] = {}
    for path in paths:
        folder, slash, name = path.rpartition("/")
        ending = glob.escape(PurePosixPath(name).suffix)
        found.setdefault(f"{glob.escape(folder)}{slash}*{ending}", []).append(path)
    return found


def open_own_files(own: OwnFiles, split: Split) -> Iterator[DataFile]:
    """Open the data files of a split one after another."""
    for address in own.addresses(split):
        yield from open_files(own.root, address)


def find_own_files(path: Path, type_: TaskType) -> OwnFiles:
    """Find the data files at ``path``, which is a file or a folder.

    Raises:
        DataError: there are none, they have several formats, only some belong to a split, or none
            belongs to the split train.
    """
    if path.is_file():
        names, root = [path.name], path.parent
    elif path.is_dir():
        names, root = sorted(_below(path)), path
    else:
        raise DataError(f"{path}: no such file or folder; correct the path of the data")
    by_name = {name: _kind(name, type_, alone=len(names) == 1) for name in names}
    kinds = _data_kinds(by_name.values())
    kind: FileKind | None = "brat" if "brat" in kinds else min(kinds, default=None)
    if kind is None and (texts := [name for name in names if name.lower().endswith(".txt")]):
        raise DataError(
            f"{path}: holds {number_of(len(texts), 'text')} (.txt) without annotation; annotate "
            "texts in brat, which writes an .ann file for each, or give JSON Lines"
        )
    if kind is None:
        known = ", ".join([*_KINDS, ".txt (CoNLL)"])
        raise DataError(f"{path}: holds no data file; known endings: {known}")
    if len(kinds) > 1 and kind != "brat":  # folders of brat have other files too
        raise DataError(f"{path}: holds files of {' and '.join(sorted(kinds))}; give one format")
    own = [name for name in names if by_name[name] == kind]
    for name in own:
        if "!" in name:
            raise DataError(f"{root / name}: no data file may have '!' in its path; rename it")
    unannotated = tuple(_unannotated(names)) if kind == "brat" else ()
    return OwnFiles(root, kind, _by_split(path, own), unannotated)


def _data_kinds(kinds: Iterable[FileKind | None]) -> set[FileKind]:
    """Return the formats found, but .json only alone: with others it mostly holds settings."""
    found = {kind for kind in kinds if kind}
    return found if found == {"label_studio"} else found - {"label_studio"}


def _unannotated(names: Iterable[str]) -> Iterable[str]:
    annotated = {name.removesuffix(".ann") for name in names if name.endswith(".ann")}
    return (n for n in names if n.endswith(".txt") and n.removesuffix(".txt") not in annotated)


def _below(folder: Path) -> Iterable[str]:
    for path in folder.rglob("*"):
        place = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in place.parts):
            yield place.as_posix()


def _kind(name: str, type_: TaskType, *, alone: bool) -> FileKind | None:
    """Return a file's format; .txt is CoNLL if it is the only file or belongs to a split."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".txt" and type_ == "ner" and (alone or split_of(name)):
        return "conll"
    if suffix == ".tsv" and type_ == "ner":
        return "conll"
    return _KINDS.get(suffix)


def split_of(place: str) -> Split | None:
    """Return the split that a path names; the file's name counts before those of its folders."""
    path = PurePosixPath(place)
    for part in (path.stem, *(parent.name for parent in path.parents)):
        named = {_WORDS[word] for word in re.split(r"[^a-z]+", part.lower()) if word in _WORDS}
        if len(named) == 1:
            return named.pop()
    return None


def _by_split(path: Path, names: Iterable[str]) -> Mapping[Split, tuple[str, ...]]:
    found: dict[Split | None, list[str]] = {}
    for name in names:
        found.setdefault(split_of(name), []).append(name)
    lone = found.pop(None, [])
    if lone and found:
        raise DataError(
            f"{path}: {len(lone)} of the files, such as {lone[0]}, belong to no split, but others "
            "do; put train, dev or test in their names, or remove them"
        )
    by_split: dict[Split, tuple[str, ...]] = {
        split: tuple(paths) for split, paths in found.items() if split
    }
    if lone or path.is_file():
        return {"train": tuple(lone) or next(iter(by_split.values()))}
    if "train" not in by_split:
        raise DataError(f"{path}: no file is named train; rename the file with training records")
    return by_split
