"""Read the relation tables of UF Health's pipeline. Knows no types and no labels.

Below a header line are eight tab-separated columns: the label, the sentence with the first entity
between ``[s1]`` and ``[e1]``, the sentence with the second entity between ``[s2]`` and ``[e2]``,
two types, two ids, and the file.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from clinprompt.errors import DataError
from clinprompt.settings.groups import Settings
from clinprompt.tasks.readers.generic.data_files import DataFile
from clinprompt.tasks.readers.generic.documents import HEAD, TAIL
from clinprompt.tasks.records import LabelAnswer, Record

_NUM_COLUMNS = 8
_FIRST, _SECOND = ("[s1]", "[e1]"), ("[s2]", "[e2]")


class _Marked(NamedTuple):
    words: tuple[str, ...]
    start: int
    end: int  # after the last word of the entity


class UfRelationsReader(Settings):
    """Read one record per row: the field ``text`` shows ``<< first >>`` and ``[[ second ]]``.

    If both entities are in one sentence, it is shown once; otherwise both sentences are shown. The
    fields ``head`` and ``tail`` are the types. Rows of one file form one group.
    """

    name: Literal["uf_relations"]

    def read(self, file: DataFile) -> Iterator[Record]:
        """Yield one record per row and skip blank lines.

        Raises:
            DataError: a row does not have eight columns, or a sentence not one pair of marks.
        """
        for number, line in file.filled_lines():
            if number > 1:
                with file.errors_at(number):
                    yield _record(line.split("\t"), number)


def _record(columns: Sequence[str], number: int) -> Record:
    if len(columns) != _NUM_COLUMNS:
        raise DataError(f"{len(columns)} columns separated by tabs; {_NUM_COLUMNS} are needed")
    label, one, other, head, tail, head_id, tail_id, name = (cell.strip() for cell in columns)
    first, second = _marked(one, _FIRST), _marked(other, _SECOND)
    if first.words == second.words:
        text = _show(first.words, [(first, HEAD), (second, TAIL)])
    else:
        text = f"{_show(first.words, [(first, HEAD)])} {_show(second.words, [(second, TAIL)])}"
    fields = {"text": text, "head": head, "tail": tail}
    return Record(f"{name}:{number}:{head_id}-{tail_id}", fields, LabelAnswer(label), group=name)


def _marked(sentence: str, marks: tuple[str, str]) -> _Marked:
    words = sentence.split()
    if [words.count(mark) for mark in marks] != [1, 1]:
        raise DataError(
            f"a sentence needs one {marks[0]} and one {marks[1]} with blanks around them"
        )
    start, end = words.index(marks[0]), words.index(marks[1]) - 1
    if end <= start:
        raise DataError(f"there is no word between {marks[0]} and {marks[1]}")
    return _Marked(tuple(word for word in words if word not in marks), start, end)


def _show(words: Sequence[str], marked: Sequence[tuple[_Marked, tuple[str, str]]]) -> str:
    shown = list(words)
    for entity, (begin, end) in marked:
        shown[entity.start] = f"{begin} {shown[entity.start]}"
        shown[entity.end - 1] = f"{shown[entity.end - 1]} {end}"
    return " ".join(shown)
