"""One task of a workspace: its card, notes, corrections, prompts and runs. Runs no model.

Owns ``train.jsonl``, which is written from the corrections after every change of them.
"""

import json
import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clinprompt.errors import DataError, RunError
from clinprompt.files import removing, write_text
from clinprompt.serving.teaching import choosing
from clinprompt.serving.teaching.adapting import Run, read_runs
from clinprompt.serving.teaching.corrections import Corrections, Made, Offer, Order
from clinprompt.serving.teaching.lines import read_lines
from clinprompt.serving.teaching.new_card import (
    LABEL,
    WRITTEN,
    TeachableKind,
    kind_of_card,
    read_taught_card,
)
from clinprompt.serving.teaching.notes import Note, Notes
from clinprompt.serving.teaching.places import Places, make_private, remove_leftovers
from clinprompt.serving.teaching.prompts import KeptPrompts
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import answer_to_json, kind_of
from clinprompt.tasks.kinds.answer_values import read_answer, read_correction
from clinprompt.tasks.kinds.ner import MENTIONS
from clinprompt.tasks.kinds.relations import LINKS
from clinprompt.tasks.records import Answer, Record

Values = Mapping[str, Any]
log = logging.getLogger("clinprompt.serving")


@dataclass(frozen=True, slots=True)
class Corrected:
    """A corrected note: its right answer, and that of the prompt that was served before."""

    note: Note
    made: Made
    answer: Answer
    said: Answer

    @property
    def record(self) -> Record:
        """Return the note with its right answer."""
        return self.note.record(self.answer)


class TaughtTask:
    """A task that is taught by corrections."""

    def __init__(self, folder: Path, store: Path) -> None:
        """Read the task.

        Raises:
            DataError: the card or another file is damaged, or ``train.jsonl`` has records of
                somebody else.
            ArtifactError: a prompt is damaged.
            RunError: a run is damaged.
        """
        self.places = Places(folder)
        make_private(folder)
        remove_leftovers(self.places)
        self.card: TaskCard = read_taught_card(self.places.card)
        self.kind: TeachableKind = kind_of_card(self.card)
        self.notes = Notes(self.places.notes)
        self.corrections = Corrections(self.places.log)
        self.prompts = KeptPrompts(self.places, store)
        self.runs: list[Run] = read_runs(self.places)
        self._check_notes()
        self._check_train()
        self.write_train()

    @property
    def name(self) -> str:
        """Return the name of the task."""
        return self.card.name

    @property
    def running(self) -> Run | None:
        """Return the run whose process works, if any."""
        return next((run for run in self.runs if run.is_running), None)

    def counts(self) -> dict[str, int]:
        """Return the number of notes in each state."""
        found = Counter(self.corrections.state(note.number) for note in self.notes)
        return {state: found[state] for state in ("waiting", "corrected", "skipped")}

    def waiting(self) -> list[Note]:
        """Return the notes that were neither corrected nor skipped."""
        return [one for one in self.notes if self.corrections.state(one.number) == "waiting"]

    def open_offer(self, order: Order, digest: str) -> Offer | None:
        """Return the offer to repeat: the last one in this order by this prompt that is open."""
        return next(
            (
                one
                for one in self.corrections.open_offers()
                if (one.order, one.prompt) == (order, digest) and one.note in self.notes
            ),
            None,
        )

    def next_run(self) -> int:
        """Return the number of a new run."""
        numbers = [run.about.number for run in self.runs]
        return 1 + max([*numbers, *(one.version for one in self.prompts)], default=0)

    def choose(self, order: Order, sureness: Mapping[int, float]) -> choosing.Choice | None:
        """Choose the next note; None if none waits. ``sureness`` is that of known answers."""
        waiting = self.waiting()
        if not waiting:
            return None
        if order == "least_sure":
            return choosing.least_sure(waiting, sureness)
        return choosing.at_random(waiting, self._taken_from())

    def _taken_from(self) -> set[tuple[int, bool]]:
        """Return the sets from which a least sure note was corrected or skipped."""
        made = [one.offer for one in (*self.corrections.corrected(), *self.corrections.skipped())]
        taken = {one.note for one in made if one.order == "least_sure"}
        return {choosing.set_of(self.notes[number]) for number in taken if number in self.notes}

    def offer(
        self, choice: choosing.Choice, order: Order, said: Values, *, digest: str, time: float
    ) -> Offer:
        """Offer a note with the answer of the prompt with a digest; return the offer.

        Raises:
            RunError: the log cannot be written.
        """
        prompt = self.prompts.named(digest)
        is_trained = prompt is not None and prompt.was_trained_on(choice.note)
        offer = Offer(
            note=choice.note.number,
            order=order,
            counts=choice.counts and not is_trained,
            prompt=digest,
            version=prompt.version if prompt else None,
            said=said,
            compared=choice.compared,
            time=time,
        )
        self.corrections.add_offer(offer)
        return offer

    def correct(self, number: int, values: Values, *, time: float) -> Corrected:
        """Keep the right answer to a note that was offered.

        Raises:
            DataError: the answer cannot be used; the message begins with its place.
            SettingError: the note was not offered.
            RunError: the correction cannot be written.
        """
        record = self.notes[number].record()
        answer = read_correction(self.card, record, values)
        plain = answer_to_json(self.card, record, answer)
        self.corrections.correct(number, _without_lines(plain), time=time)
        self._follow_log()
        return next(one for one in self.corrected() if one.note.number == number)

    def skip(self, number: int, *, time: float) -> None:
        """Keep that a note is not to be offered again.

        Raises:
            SettingError: the note was not offered.
            RunError: it cannot be written.
        """
        self.corrections.correct(number, None, time=time)
        self._follow_log()

    def undo(self, *, time: float) -> Made:
        """Take back the last correction or skip; return it.

        Raises:
            SettingError: there is none.
            RunError: it cannot be written.
        """
        made = self.corrections.undo(time=time)
        self._follow_log()
        return made

    def remove(self, numbers: Collection[int]) -> None:
        """Remove notes with all that was said about them. Prompts trained on them stay.

        If this fails, repeating it removes the rest: the notes themselves are removed last.

        Raises:
            NotRemovedError: a file cannot be written or removed.
        """
        with removing(f"{self.places.folder}: notes", then="remove them again"):
            for run in self.runs:
                if set(run.about.notes) & set(numbers):
                    run.forget_copy()
            self.write_train(without=numbers)
            self.corrections.remove(numbers)
            self.notes.remove(numbers)

    def corrected(self) -> list[Corrected]:
        """Return all corrected notes, in the order in which they came."""
        found = [self._corrected(made) for made in self.corrections.corrected()]
        return sorted(found, key=lambda one: one.note.number)

    def _corrected(self, made: Made) -> Corrected:
        note = self.notes[made.offer.note]
        record = note.record()
        answer = read_answer(self.card, record, made.answer)
        return Corrected(note, made, answer, read_answer(self.card, record, made.offer.said))

    def is_same(self, one: Answer, other: Answer) -> bool:
        """Return whether two answers say the same, as the task's metric compares them."""
        return is_same(self.card, one, other)

    def _follow_log(self) -> None:
        """Write the training records after the log, which keeps the correction even if this fails.

        They are written again after the next correction, before an adaptation and at the next
        start.
        """
        try:
            self.write_train()
        except RunError as error:
            log.warning("%s", error)

    def write_train(self, *, without: Collection[int] = ()) -> None:
        """Write the corrections as records of the task.

        Raises:
            RunError: the file cannot be written.
        """
        kept = [one for one in self.corrected() if one.note.number not in without]
        rows = (json.dumps(training_row(one), ensure_ascii=False) for one in kept)
        text = "".join(f"{row}\n" for row in rows)
        if not self.places.train.is_file() or self.places.train.read_bytes() != text.encode():
            write_text(self.places.train, text, is_private=True)

    def _check_notes(self) -> None:
        made = (*self.corrections.corrected(), *self.corrections.skipped())
        if any(one.offer.note not in self.notes for one in made):
            raise DataError(
                f"{self.places.notes}: lacks notes that {self.places.log.name} names; copy both "
                "files again"
            )

    def _check_train(self) -> None:
        known = {note.id for note in self.notes}
        rows = read_lines(self.places.train)
        if any(row.get("id") not in known for row in rows):
            raise DataError(
                f"{self.places.train}: has records that are no corrections of this workspace, and "
                "would be lost; move them into another file of the folder, such as more.jsonl, and "
                "name it in files.train of the card, too"
            )


def is_same(card: TaskCard, one: Answer, other: Answer) -> bool:
    """Return whether two answers to a task say the same, as its metric compares them."""
    listing = kind_of(card).listing
    if listing is None:
        return one == other
    is_whole = not listing.num_invented(one) and not listing.num_invented(other)
    return is_whole and listing.identities(one) == listing.identities(other)


def training_row(one: Corrected) -> dict[str, Any]:
    """Return the line of a corrected note in ``train.jsonl``."""
    row: dict[str, Any] = {"id": one.note.id, **one.note.fields}
    values = one.made.answer or {}
    if MENTIONS.name in values:
        row[MENTIONS.name] = [_labeled(span) for span in values[MENTIONS.name]]
    elif LINKS.name in values:
        row[LINKS.name] = [
            {"label": link["type"], "head": _labeled(link["head"]), "tail": _labeled(link["tail"])}
            for link in values[LINKS.name]
        ]
    elif LABEL in values:
        row[LABEL] = values[LABEL]
    else:
        row[WRITTEN] = values["text"]
    return row


def _labeled(span: Values) -> dict[str, Any]:
    return {"start": span["start"], "end": span["end"], "label": span["type"], "text": span["text"]}


def _without_lines(values: Values) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "ungrounded"}
