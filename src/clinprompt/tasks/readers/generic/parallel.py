"""Read parallel files: a line of one has its answer on the same line of another. Knows no cards."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Literal

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.records import Record, TextAnswer, one_line

_SOURCE, _TARGET = ".source", ".target"


class ParallelReader(Settings):
    """Read one record per line; the answers are in a file with ``.target`` instead of ``.source``.

    The card names only the files of texts: ``test.source.gz`` needs ``test.target.gz`` next to it.
    """

    name: Literal["parallel"]

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per line and skip lines that are blank in both files.

        Raises:
            DataError: the file of answers is missing, or a line has no text or no answer.
        """
        name = file.place.rpartition("/")[2]
        if _SOURCE not in name:
            raise file.error(f"its name has no {_SOURCE!r}; rename it or correct card.files")
        partner = name.replace(_SOURCE, _TARGET, 1)
        lines = zip_longest(_lines(file), _lines(file.sibling(partner)), fillvalue="")
        for number, (text, answer) in enumerate(lines, start=1):
            if bool(text) != bool(answer):
                raise file.error(f"no partner in {partner}; give both as many lines", number)
            if text:
                yield Record(f"{file.label}:{number}", {"text": text}, TextAnswer(answer))


def _lines(file: DataFile) -> Iterator[str]:
    return (one_line(line) for _, line in file.lines())
