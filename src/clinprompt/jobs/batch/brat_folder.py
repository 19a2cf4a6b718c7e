"""Write the answers of a batch for brat: a folder for each task, in it one for each chunk.

Knows no models. Texts are read again from the notes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clinprompt.files import new_folder
from clinprompt.jobs.note_files import RawNote
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.kinds.brat_output import write_annotation_conf, write_brat
from clinprompt.tasks.kinds.ner import MENTIONS
from clinprompt.tasks.kinds.relations import LINKS
from clinprompt.tasks.records import Record, Relation, RelationsAnswer, Span, SpansAnswer

Row = dict[str, Any]
Chunk = tuple[Sequence[RawNote], Sequence[Row]]
_Types = dict[tuple[str, ...], Record]


def write_brat_folder(path: Path, chunks: Iterable[Chunk], cards: Mapping[str, TaskCard]) -> None:
    """Write a brat folder completely or not at all.

    Each chunk is its notes and the rows of their answers. ``answers.jsonl`` has all rows; those
    with files in brat name them in ``file``. ``cards`` are the tasks by name.

    Raises:
        RunError: the disk is full or the folder is not writable.
    """
    seen: dict[str, _Types] = {name: {} for name in cards}
    with new_folder(path) as folder:
        with (folder / "answers.jsonl").open("w", encoding="utf-8", newline="\n") as stream:
            for number, (notes, rows) in enumerate(chunks):
                for name, types in seen.items():
                    _write_chunk(folder, f"{name}/{number:06d}", notes, rows, types)
                stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        for name, card in cards.items():
            write_annotation_conf(
                folder / name,
                list(seen[name].values()),
                card.labels,
                are_links=kind_of(card).answer is RelationsAnswer,
                ends=card.ends,
            )


def _write_chunk(
    folder: Path, place: str, notes: Sequence[RawNote], rows: Sequence[Row], types: _Types
) -> None:
    """Write the pairs of files of one task, and name them in the task's rows."""
    task = place.rpartition("/")[0]
    answered = {row["line"]: row for row in rows if row.get("task") == task and "error" not in row}
    records = [_answered(note, answered[note.number]) for note in notes if note.number in answered]
    (folder / place).mkdir(parents=True)
    names = write_brat(folder / place, records, [_probabilities(row) for row in answered.values()])
    for row, name in zip(answered.values(), names, strict=True):
        row["file"] = f"{place}/{name}"
    for record in records:
        types.setdefault(_types_in(record), record)


def _answered(note: RawNote, row: Row) -> Record:
    """Return a note with the answer of its row."""
    links = tuple(
        Relation(one["type"], _span(one["head"]), _span(one["tail"]))
        for one in row.get(LINKS.name, ())
    )
    spans = tuple(map(_span, row.get(MENTIONS.name, ())))
    answer = RelationsAnswer(links) if LINKS.name in row else SpansAnswer(spans)
    return replace(note.read(), answer=answer)


def _span(values: Mapping[str, Any]) -> Span:
    return Span(values["start"], values["end"], values["type"])


def _probabilities(row: Row) -> list[float]:
    items = row.get(LINKS.name) or row.get(MENTIONS.name) or ()
    return [one["probability"] for one in items if "probability" in one]


def _types_in(record: Record) -> tuple[str, ...]:
    """Return the types in an answer, which ``annotation.conf`` lists."""
    if isinstance(record.answer, RelationsAnswer):
        links = record.answer.relations
        found = {f"{one.type}\0{one.head.type}\0{one.tail.type}" for one in links}
    else:
        assert isinstance(record.answer, SpansAnswer)
        found = {one.type for one in record.answer.spans}
    return tuple(sorted(found))
