"""Read PriMock57: consultations transcribed by speaker, with the doctor's note. Knows no others."""

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Literal

from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.json_tables import load_object, text
from clinprompt.tasks.records import Record, TextAnswer, one_line

_NUMBER = r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_INTERVAL = re.compile(
    rf'xmin = (?P<start>{_NUMBER})\s+xmax = {_NUMBER}\s+text = "(?P<words>(?:[^"]|"")*)"'
)
_SIZE = re.compile(r"intervals: size = (\d+)")
_UNHEARD = re.compile(r"<[^<>]*/>")
_UNSURE = re.compile(r"</?[^<>/]*>")


class PrimockReader(Settings):
    """Read the turns of both speakers as the field ``text`` and the note as answer.

    The card names the notes. ``transcripts`` is the folder, relative to the note, of Praat
    TextGrids, one for each of ``speakers``: ``visit1_doctor.TextGrid`` is the doctor's speech in
    ``visit1``. Turns are sorted by start; consecutive turns of one speaker form one line. Words
    marked as unsure are kept; marks of speech that was not understood are removed.
    """

    name: Literal["primock"]
    transcripts: str = "../transcripts"
    speakers: tuple[str, ...] = ("doctor", "patient")

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield the one record of a note.

        Raises:
            DataError: the note or a transcript is missing or damaged.
        """
        turns = sorted(
            (start, speaker, words)
            for speaker in self.speakers
            for start, words in _turns(
                file.sibling(f"{self.transcripts}/{file.stem}_{speaker}.TextGrid")
            )
        )
        lines = (
            f"{speaker.capitalize()}: {' '.join(words for _, _, words in said)}"
            for speaker, said in groupby(turns, key=lambda turn: turn[1])
        )
        with file.errors_at():
            note = TextAnswer(text(load_object(file), "note", "file"))
            yield Record(file.stem, {"text": "\n".join(lines)}, note, group=file.stem)


def _turns(grid: DataFile) -> Iterator[tuple[float, str]]:
    """Yield start in seconds and words of each interval with speech."""
    content = grid.text()
    found = tuple(_INTERVAL.finditer(content))
    if sum(int(size) for size in _SIZE.findall(content)) != len(found) or not found:
        raise grid.error("the TextGrid lacks intervals that it states; fetch the file again")
    for interval in found:
        heard = _UNHEARD.sub(" ", interval["words"].replace('""', '"'))
        words = one_line(_UNSURE.sub("", heard))
        if words:
            yield float(interval["start"]), words
