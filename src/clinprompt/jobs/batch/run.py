"""Answer tasks of a store about all notes of an input, chunk by chunk, into one folder.

A chunk is written completely or not at all, and held by a claim while it is answered. So a batch
that was stopped at any moment continues, and several processes may share one folder.

This process answers, unless another *engine* is given: a function that answers all chunks of a
batch (see ``ray_engine``).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from clinprompt.errors import SettingError
from clinprompt.jobs.annotate import task_of
from clinprompt.jobs.batch.answer_chunk import answer_chunk
from clinprompt.jobs.batch.brat_folder import write_brat_folder
from clinprompt.jobs.batch.folder import BatchFolder, Summary, TableForm
from clinprompt.jobs.batch.tables import write_csv, write_json_lines, write_parquet
from clinprompt.jobs.note_files import (
    InputDigest,
    RawNote,
    digest_of,
    raw_notes,
    require_parquet,
)
from clinprompt.jobs.task_table import (
    ServedTask,
    load_backbone_for,
    load_tasks,
    prompt_folders,
)
from clinprompt.prompts.find_prompt import MANIFEST
from clinprompt.prompts.store import open_prompt
from clinprompt.settings.defaults import NOTE_CHARACTERS, NOTES_PER_CHUNK
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of

_SHOWN_ERRORS = 5


class Progress(Protocol):
    """Where a batch reports its progress."""

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Start a phase of ``total`` answers, of which ``done`` are finished."""

    def advance(self, count: int, /) -> None:
        """Count more answers."""

    def say(self, message: str) -> None:
        """Report a message of one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """What to answer: tasks of ``store`` (without ``tasks``, all) about ``notes``, into ``output``.

    ``backbone``, ``device``, ``dtype``, ``allow_backbone`` and ``free`` are as in ``load_prompt``.
    A note of more than ``max_characters`` in all its fields gets an error instead of answers.
    """

    store: Path
    notes: Path
    output: Path
    tasks: Sequence[str] = ()
    form: TableForm = "jsonl"
    backbone: str = ""
    device: str = "auto"
    dtype: str = "auto"
    allow_backbone: bool = False
    free: bool = False
    max_characters: int = NOTE_CHARACTERS
    notes_per_chunk: int = NOTES_PER_CHUNK


@dataclass
class Batch:
    """A batch in its folder. ``counted`` are the chunks that the progress has counted."""

    request: BatchRequest
    digest: InputDigest
    folder: BatchFolder
    cards: dict[str, TaskCard]
    progress: Progress
    counted: set[int] = field(default_factory=set)

    @property
    def num_chunks(self) -> int:
        """Return the number of chunks, answered or not."""
        return -(-self.digest.num_notes // self.request.notes_per_chunk)

    def chunks(self) -> Iterator[list[RawNote]]:
        """Read the input and yield the notes of each chunk."""
        notes = raw_notes(self.request.notes)
        while chunk := list(islice(notes, self.request.notes_per_chunk)):
            yield chunk

    def num_answers(self, chunk: int) -> int:
        """Return the number of notes of a chunk times the number of tasks."""
        size = self.request.notes_per_chunk
        return min(size, self.digest.num_notes - chunk * size) * len(self.cards)

    def missing(self) -> list[int]:
        """Return the numbers of the chunks that are not answered."""
        return [number for number in range(self.num_chunks) if not self.folder.is_done(number)]

    def begin(self, missing: Sequence[int]) -> None:
        """Start the progress; chunks that are not ``missing`` are counted."""
        self.counted = set(range(self.num_chunks)) - set(missing)
        total = self.digest.num_notes * len(self.cards)
        done = sum(map(self.num_answers, self.counted))
        self.progress.begin("answers", total=total, done=done)


Engine = Callable[[Batch], None]


def answer_batch(
    request: BatchRequest, progress: Progress, engine: Engine | None = None
) -> Summary:
    """Answer all notes; return what was answered. The result is in the folder of ``output``.

    A note that cannot be read or is empty or too long gets a row with its error. The same call
    continues a batch that was stopped, and may be made by several processes at a time: each returns
    when all is answered. Without ``engine``, this process answers.

    Raises:
        ArtifactError: there is no prompt, or one is damaged or was trained on another backbone.
        BackboneError: the backbone cannot be loaded.
        DataError: the notes cannot be read, or there are none.
        RunError: the folder holds something else or a batch of other notes, tasks or options, or
            cannot be written.
        SettingError: no task has a given name, the format cannot show the answers of a task, or a
            package is missing.
    """
    paths = prompt_folders(request.store, request.tasks)
    cards = {name: _card(path) for name, path in paths.items()}
    _check_form(request, cards)
    digest = digest_of(request.notes)
    folder = BatchFolder(request.output, request.form)
    folder.start(_description(request, paths, digest))
    batch = Batch(request, digest, folder, cards, progress)
    if not folder.is_finished:
        (engine or _answer_here)(batch)
    with folder.claim("result", wait=True):
        if not folder.is_finished:
            _join(batch)
        folder.clean()
    return folder.summary()


def _card(path: Path) -> TaskCard:
    return task_of(path, open_prompt(path)[0].manifest)[0]


def _check_form(request: BatchRequest, cards: dict[str, TaskCard]) -> None:
    if request.form == "parquet":
        require_parquet()
    if request.output.resolve() == request.notes.resolve():
        raise SettingError(f"{request.output}: is the input itself; name another output")
    unlisted = [name for name, card in cards.items() if kind_of(card).listing is None]
    if request.form == "brat" and unlisted:
        raise SettingError(
            f"{unlisted[0]}: its answer is {cards[unlisted[0]].answer}, and brat shows spans and "
            "relations only; leave the task out or choose another format"
        )


def _description(
    request: BatchRequest, paths: dict[str, Path], digest: InputDigest
) -> dict[str, Any]:
    """Return what must be the same for a batch to continue."""
    return {
        "input": {"bytes": digest.num_bytes, "sha256": digest.sha256},
        "tasks": {
            name: hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
            for name, path in paths.items()
        },
        "format": request.form,
        "backbone": request.backbone if request.allow_backbone else "",
        "dtype": request.dtype,
        "free": request.free,
        "max_characters": request.max_characters,
        "notes_per_chunk": request.notes_per_chunk,
    }


def _answer_here(batch: Batch) -> None:
    """Answer all chunks, or wait until other processes have answered them."""
    missing = batch.missing()
    if not missing:
        return
    tasks = tasks_of(batch.request)
    batch.begin(missing)
    for waits in (False, True):  # at last wait for chunks that other processes hold
        if len(batch.counted) == batch.num_chunks:
            return
        for number, notes in enumerate(batch.chunks()):
            if number not in batch.counted:
                answer_or_skip(batch, tasks, number, notes, waits)


def tasks_of(request: BatchRequest) -> list[ServedTask]:
    """Load the backbone and return the tasks of a batch on it."""
    backbone = load_backbone_for(
        request.store,
        request.backbone,
        device=request.device,
        dtype=request.dtype,
        names=request.tasks,
    )
    table = load_tasks(
        backbone,
        request.store,
        request.tasks,
        allow_backbone=request.allow_backbone,
        free=request.free,
    )
    return list(table)


def answer_or_skip(
    batch: Batch, tasks: Sequence[ServedTask], number: int, notes: Sequence[RawNote], waits: bool
) -> None:
    """Answer a chunk and count it, unless another process has answered it or holds it.

    If ``waits``, wait for the process that holds it.
    """
    folder, request = batch.folder, batch.request
    with folder.claim(f"chunk {number}", wait=waits) as is_ours:
        if folder.is_done(number):
            batch.progress.advance(batch.num_answers(number))
        elif is_ours:
            rows = answer_chunk(
                tasks,
                notes,
                max_characters=request.max_characters,
                on_answers=batch.progress.advance,
            )
            folder.write_part(number, rows)
        else:
            return
    batch.counted.add(number)


def _join(batch: Batch) -> None:
    """Write the summary and the result from the parts."""
    folder = batch.folder
    folder.write_summary(_summary(batch))
    parts = folder.parts(batch.num_chunks)
    match batch.request.form:
        case "jsonl":
            write_json_lines(folder.result, parts)
        case "csv":
            write_csv(folder.result, parts)
        case "parquet":
            write_parquet(folder.result, parts)
        case "brat":
            chunks = zip(batch.chunks(), parts, strict=True)
            write_brat_folder(folder.result, chunks, batch.cards)


def _summary(batch: Batch) -> Summary:
    num_answers = num_errors = 0
    first: list[dict[str, Any]] = []
    for rows in batch.folder.parts(batch.num_chunks):
        wrong = [row for row in rows if "error" in row]
        first += wrong[: max(0, _SHOWN_ERRORS - len(first))]
        num_errors += len(wrong)
        num_answers += len(rows) - len(wrong)
    return Summary(batch.digest.num_notes, num_answers, num_errors, first)
