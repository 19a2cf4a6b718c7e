"""Teach tasks on a running server: offer notes, start adaptations, change what is served.

All changes of tasks are made in the event loop of the server, one at a time. Owns what works in the
background: answers to notes that may be offered next, and the run that adapts a task.
"""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from time import time
from typing import Any

from clinprompt.backbone.load import Backbone
from clinprompt.backbone.memory import free_bytes
from clinprompt.errors import ClinpromptError, DataError, place_of
from clinprompt.files import NotRemovedError
from clinprompt.jobs.before_adapting import Usable, adaptation_bytes, usable_rows
from clinprompt.serving.access import Refused
from clinprompt.serving.state import ServerState
from clinprompt.serving.teaching.adapting import AnotherRunError, Recipe, Run
from clinprompt.serving.teaching.choosing import candidates
from clinprompt.serving.teaching.comparing import Comparisons
from clinprompt.serving.teaching.corrections import Offer, Order
from clinprompt.serving.teaching.note_answers import IsGone, NoteAnswers, nobody_leaves
from clinprompt.serving.teaching.notes import Note
from clinprompt.serving.teaching.run_files import About
from clinprompt.serving.teaching.task import TaughtTask
from clinprompt.serving.teaching.workspace import TaughtTasks
from clinprompt.tasks.card import read_card

log = logging.getLogger("clinprompt.serving")
_SECONDS_BETWEEN_LOOKS = 0.3
_SECONDS_OF_INTEREST = 600.0  # after a task was asked for a note, its notes are answered ahead


class Teacher:
    """What the routes of a workspace do."""

    def __init__(
        self, state: ServerState, backbone: Backbone, tasks: TaughtTasks, recipe: Recipe
    ) -> None:
        self._state, self._backbone = state, backbone
        self.tasks, self.recipe = tasks, recipe
        self.answers = NoteAnswers(state)
        self.comparisons = Comparisons(self.answers)
        self._background: set[asyncio.Task[None]] = set()
        self._asked: tuple[str, float] = ("", 0.0)  # the task that was last asked for a note
        self._beginning: TaughtTask | None = None  # the task whose run is prepared
        self._finishing: asyncio.Task[None] | None = None  # waits for the run

    @property
    def adapting(self) -> tuple[TaughtTask, Run] | None:
        """Return the task that is being adapted, and the run."""
        running = ((task, task.running) for task in self.tasks)
        return next(((task, run) for task, run in running if run), None)

    @property
    def served_names(self) -> list[str]:
        """Return the names of all tasks that are served, also of those that are not taught."""
        return self._state.tasks.names

    def start(self) -> None:
        """Begin to answer notes ahead, whenever the engine has nothing else to do."""
        self._keep(self._look_ahead())

    async def stop(self) -> None:
        """End what works in the background; a run keeps what it has trained."""
        if self.adapting:
            await self.stop_run(self.adapting[1])
        for one in self._background:
            one.cancel()

    def _keep(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def offer(self, task: TaughtTask, order: Order, is_gone: IsGone) -> Offer | None:
        """Offer the next note, or the last one again if it is open; None if none waits.

        Raises:
            Refused: the note cannot be answered now.
        """
        self._asked = (task.name, time())
        prompt, digest = self.answers.served(task.name), self.answers.digest(task.name)
        if found := task.open_offer(order, digest):
            return found
        while choice := task.choose(order, self.answers.known(task.name, digest)):
            said = await self.answers.ask(task.name, choice.note, prompt, is_gone)
            if task not in self.tasks:
                raise Refused(404, "unknown_task", "the task was removed meanwhile", param="task")
            if choice.note in task.waiting():  # nobody has corrected or removed it meanwhile
                return task.offer(choice, order, said.values, digest=digest, time=time())
        return None

    async def _look_ahead(self) -> None:
        """Answer notes that may be offered next, one at a time, while nobody waits."""
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            try:
                await self._answer_ahead()
            except Refused:
                continue  # the queue is full, or a note is too long: the request will say so
            except Exception as error:
                log.error("answering ahead failed: %s", place_of(error))

    async def _answer_ahead(self) -> None:
        name, asked = self._asked
        is_wanted = name in self.tasks and time() - asked < _SECONDS_OF_INTEREST
        if not is_wanted or self.adapting or self._state.engine.num_rows:
            return
        known = self.answers.known(name, self.answers.digest(name))
        coming = next((one for one in _coming(self.tasks[name]) if one.number not in known), None)
        if coming:
            await self.answers.ask(name, coming, self.answers.served(name), nobody_leaves)

    async def remove_notes(self, task: TaughtTask, numbers: set[int]) -> None:
        """Remove notes with all that was said about them.

        Raises:
            Refused: the task is being adapted, or a file cannot be removed (409).
        """
        self.check_not_adapting(task)
        self.answers.forget(task.name, numbers)
        self.comparisons.forget()
        with _removing():
            task.remove(numbers)

    async def remove_task(self, name: str) -> None:
        """Remove a task with everything that belongs to it, or what an earlier removal left.

        Raises:
            Refused: the task is being adapted, or a file cannot be removed (409).
        """
        if name in self.tasks:
            task = self.tasks[name]
            self.check_not_adapting(task)
            self.answers.forget(name, {note.number for note in task.notes})
            self.comparisons.forget()
        try:
            with _removing():
                self.tasks.remove(name)
        finally:
            await self.reload()

    def check_not_adapting(self, task: TaughtTask) -> None:
        """Check that a task is not being adapted.

        Raises:
            Refused: it is (409).
        """
        if task.running or task is self._beginning:
            raise Refused(409, "is_adapting", "the task is being adapted; wait, or stop that run")

    async def begin_run(self, task: TaughtTask) -> Run:
        """Start an adaptation, or go on with the last one if the task is as it was then.

        Raises:
            Refused: another one is running, memory lacks, or nothing can be trained on (409).
        """
        if self.adapting or self._beginning:
            raise Refused(409, "is_adapting", "a task is being adapted; wait, or stop that run")
        self._check_memory()
        self._beginning = task
        try:
            last = task.runs[-1] if task.runs else None
            run = last if last and last.has_copy_of(task.places) else await self._new_run(task)
            run.start(self.recipe)
        except AnotherRunError as error:
            raise Refused(409, "is_adapting", str(error)) from error
        finally:
            self._beginning = None
        self._finishing = self._keep(self._finish(task, run))
        return run

    async def stop_run(self, run: Run) -> None:
        """Stop a run, which keeps what it has trained."""
        run.ask_to_stop()
        if run.is_running and self._finishing:
            await asyncio.shield(self._finishing)

    def _check_memory(self) -> None:
        free, needed = free_bytes(self._backbone.device), adaptation_bytes(self.recipe.config)
        if free is not None and free < needed:
            raise Refused(
                409,
                "too_little_memory",
                f"adapting needs about {needed / 1e9:.1f} GB of memory, and only {free / 1e9:.1f} "
                "GB are free; close other programs, or adapt on another machine",
            )

    async def _new_run(self, task: TaughtTask) -> Run:
        notes = tuple(one.note.number for one in task.corrected())
        if not notes:
            raise Refused(409, "nothing_to_train", "no note is corrected yet; correct some first")
        task.write_train()  # the log may be ahead of it, if the disk was full
        number = task.next_run()
        about = About(number, notes)
        run = Run.made(task.places.runs / str(number), about, task.places)
        try:
            usable = await self._state.tokenizing(partial(self._usable, run))
        except BaseException as error:
            run.remove()
            if isinstance(error, DataError):
                raise Refused(409, "nothing_to_train", str(error)) from error
            raise
        if not usable.rows:
            run.remove()
            raise Refused(
                409,
                "nothing_to_train",
                "no correction can be trained on, because the answers have more than "
                f"{self.recipe.config.data.max_target_tokens} tokens; correct shorter notes",
            )
        run.will_use(usable)
        for old in task.runs:
            old.try_to_forget_copy()
        task.runs.append(run)
        return run

    def _usable(self, run: Run) -> Usable:
        return usable_rows(self._backbone, read_card(run.copy.card), self.recipe.config)

    async def _finish(self, task: TaughtTask, run: Run) -> None:
        """Wait until a run ends, and keep its prompt."""
        await asyncio.to_thread(run.end)
        try:
            if artifact := run.made_prompt():
                notes = [task.notes[number] for number in run.about.notes]
                task.prompts.keep(run.about.number, artifact, notes)
                run.is_kept()
        except ClinpromptError as error:
            run.has_failed(str(error))
        except Exception as error:
            log.error("a run could not be finished: %s", place_of(error))
            run.has_failed("the server could not keep the prompt; see its log")

    async def use(self, task: TaughtTask, version: int) -> None:
        """Serve another prompt of a task.

        Raises:
            Refused: the task has no such prompt (404), or the store is not valid (409).
        """
        if version not in task.prompts:
            raise Refused(404, "unknown_version", "the task has no prompt of this version")
        before = task.prompts.history
        if before[-1:] != [version]:
            task.prompts.use(version)
            await self._serve(task, before)

    async def undo_use(self, task: TaughtTask) -> None:
        """Serve the prompt that was served before.

        Raises:
            Refused: there is none, or the store is not valid (409).
        """
        before = task.prompts.history
        if task.prompts.before is None:
            raise Refused(409, "nothing_to_undo", "no other prompt of the task was served before")
        task.prompts.undo()
        await self._serve(task, before)

    async def _serve(self, task: TaughtTask, before: list[int]) -> None:
        """Read the store again; if that fails, the task keeps the prompt that it had."""
        try:
            await self.reload()
        except Refused:
            task.prompts.put_back(before)
            raise

    async def reload(self) -> None:
        """Read the store again.

        Raises:
            Refused: it is not valid (409), or the server shuts down (503).
        """
        await self._state.reload()


@contextmanager
def _removing() -> Iterator[None]:
    """Turn what cannot be removed into an answer with an error status."""
    try:
        yield
    except NotRemovedError as error:
        raise Refused(409, "not_removed", str(error)) from error


def _coming(task: TaughtTask) -> list[Note]:
    """Return the notes that may be offered next, in either order."""
    waiting = task.waiting()
    drawn = task.choose("random", {})
    return [*([drawn.note] if drawn else []), *(candidates(waiting) if waiting else [])]
