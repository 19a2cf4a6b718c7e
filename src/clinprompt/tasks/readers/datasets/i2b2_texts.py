"""Find the text or relations that belong to a file of annotation. Knows no formats.

In i2b2's data sets, the text, concepts and relations of a note have the same file name in different
folders or archives.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from clinprompt.tasks.readers.generic.data_files import DataFile, open_files

_SKIPPED = "unannotated"


def companion(file: DataFile, address: str, stem: str = "") -> DataFile:
    """Return the file at ``address`` with the given stem, by default the stem of ``file``.

    The address is relative to the folder of the file, or of its archive. Files in folders named
    "unannotated" are skipped.

    Raises:
        DataError: there is no such file, or there are several that differ.
    """
    stem = stem or file.stem
    folder = file.path.parent
    path = folder / address.partition("!")[0]
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    found = {one.content(): one for one in _by_stem(folder, address, changed).get(stem, ())}
    if len(found) != 1:
        how_many = "several different files are" if found else "no file is"
        raise file.error(f"{how_many} named {stem!r} in {address}; fetch the archives again")
    return next(iter(found.values()))


@lru_cache(maxsize=4)  # all notes of an archive need the same few
def _by_stem(folder: Path, address: str, _changed: int) -> Mapping[str, Sequence[DataFile]]:
    found: dict[str, list[DataFile]] = {}
    for file in open_files(folder, address):
        if _SKIPPED not in file.place:
            found.setdefault(file.stem, []).append(file)
    return found
