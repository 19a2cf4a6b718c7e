"""Read parallel files: each line of one is answered by the same line of another. Knows no cards."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Literal

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.records import Record, TextAnswer, one_line

_SOURCE, _TARGET = ".source", ".target"


class ParallelReader(Settings):
    """Read one record a line; the file of answers has ``.target`` for ``.source`` in its name.

    The card names the files of texts only: beside ``test.source.gz`` lies ``test.target.gz``.
    """

    name: Literal["parallel"]

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record a line; lines that are blank in both files are passed over.

        Raises:
            DataError: there is no file of answers, or a line has no partner.
        """
        name = file.place.rpartition("/")[2]
        if _SOURCE not in name:
            raise file.error(f"its name has no {_SOURCE!r}; rename it or mend card.files")
        partner = name.replace(_SOURCE, _TARGET, 1)
        lines = zip_longest(_lines(file), _lines(file.sibling(partner)), fillvalue="")
        for number, (text, answer) in enumerate(lines, start=1):
            if bool(text) != bool(answer):
                raise file.error(f"no partner in {partner}; give both as many lines", number)
            if text:
                yield Record(f"{file.stem}:{number}", {"text": text}, TextAnswer(answer))


def _lines(file: DataFile) -> Iterator[str]:
    return (one_line(line) for _, line in file.lines())
