"""Find the file that belongs to a file of annotation, in another folder or archive of the task.

Knows no formats. i2b2 gives texts, concepts and relations of one note the same name, and puts them
into different folders, or even archives.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from clinprompt.tasks.readers.generic.data_files import DataFile, open_files

_SKIPPED = "unannotated"


def companion(file: DataFile, address: str, stem: str = "") -> DataFile:
    """Return the file of ``address`` with the stem of ``file``, or another one given.

    The address is relative to the folder that holds the file, or its archive. Files in folders
    named "unannotated" are passed over.

    Raises:
        DataError: there is none, or there are several that differ.
    """
    stem = stem or file.stem
    folder = file.path.parent
    path = folder / address.partition("!")[0]
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    found = {one.content(): one for one in _by_stem(folder, address, changed).get(stem, ())}
    if len(found) != 1:
        how_many = "several files, and different ones," if found else "no file"
        raise file.error(f"{how_many} named {stem!r} in {address}; fetch the archives again")
    return next(iter(found.values()))


@lru_cache(maxsize=4)  # every note of an archive asks for the same few
def _by_stem(folder: Path, address: str, _changed: int) -> Mapping[str, Sequence[DataFile]]:
    found: dict[str, list[DataFile]] = {}
    for file in open_files(folder, address):
        if _SKIPPED not in file.place:
            found.setdefault(file.stem, []).append(file)
    return found
