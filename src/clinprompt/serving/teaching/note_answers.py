"""Ask the engine of the server for answers to notes, by any prompt of a task, and keep them.

Owns the answers, which are kept in memory only, and the prompts that are loaded to compare them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from clinprompt.evaluation.questions import Prediction
from clinprompt.jobs.task_table import ServedTask
from clinprompt.serving.access import Refused
from clinprompt.serving.engine import Job
from clinprompt.serving.state import ServerState, answer_values
from clinprompt.serving.teaching.choosing import sureness_of
from clinprompt.serving.teaching.notes import Note
from clinprompt.serving.teaching.prompts import KeptPrompt, digest_of

_SECONDS_BETWEEN_TRIES = 0.2  # while the queue is full
IsGone = Callable[[], Awaitable[bool]]


async def nobody_leaves() -> bool:
    """Say that whoever waits is still there: nobody else does."""
    return False


@dataclass(frozen=True, slots=True)
class Said:
    """What a prompt answers to a note: as an answer, as plain values, and how sure it is."""

    prediction: Prediction
    values: dict[str, Any]
    sureness: float


class NoteAnswers:
    """The answers of all prompts that were asked."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._said: dict[tuple[str, int, str], Said] = {}  # by task, note and prompt
        self._num_forgotten = 0  # times that answers were forgotten
        self._loaded: dict[str, ServedTask] = {}  # prompts that are not served, by digest

    def served(self, task: str) -> ServedTask:
        """Return the prompt of a task that is served.

        Raises:
            Refused: the task is not served (404).
        """
        return self._state.task(task)

    def digest(self, task: str) -> str:
        """Return the digest of the prompt of a task that is served.

        Raises:
            Refused: the task is not served (404).
        """
        return digest_of(self.served(task).loaded.artifact)

    def known(self, task: str, digest: str) -> dict[int, float]:
        """Return how sure a prompt is of each note that it has answered."""
        return {
            note: said.sureness
            for (name, note, prompt), said in self._said.items()
            if (name, prompt) == (task, digest)
        }

    def forget(self, task: str, notes: Collection[int]) -> None:
        """Forget the answers to notes; those that are on their way are not kept."""
        self._num_forgotten += 1
        for key in [one for one in self._said if one[0] == task and one[1] in notes]:
            del self._said[key]

    async def ask(self, task: str, note: Note, prompt: ServedTask, is_gone: IsGone) -> Said:
        """Return the answer of a prompt to a note.

        Raises:
            Refused: the note cannot be answered, or not now.
        """
        key = (task, note.number, digest_of(prompt.loaded.artifact))
        if key in self._said:
            return self._said[key]
        before = self._num_forgotten
        job = Job(await self._state.question(prompt, note.record()))
        self._state.submit([job])
        [prediction] = await self._state.answers([job], is_gone)
        values = answer_values(prompt, prediction)
        del values["task"]
        said = Said(prediction, values, sureness_of(prediction))
        if before == self._num_forgotten:
            self._said[key] = said
        return said

    async def ask_patiently(self, task: str, note: Note, prompt: ServedTask) -> Said:
        """Return the answer of a prompt to a note; wait while the queue is full.

        Raises:
            Refused: the note cannot be answered.
        """
        while True:
            try:
                return await self.ask(task, note, prompt, nobody_leaves)
            except Refused as refused:
                if refused.status != 429:
                    raise
                await asyncio.sleep(_SECONDS_BETWEEN_TRIES)

    async def prompt(self, task: str, kept: KeptPrompt) -> ServedTask:
        """Return a prompt ready to be asked, which need not be the one that is served.

        Raises:
            Refused: the task is not served (404).
            ArtifactError: the prompt is damaged.
        """
        served = self.served(task)
        if digest_of(served.loaded.artifact) == kept.digest:
            return served
        if kept.digest not in self._loaded:
            self._loaded[kept.digest] = await self._state.load_prompt(kept.folder)
        return self._loaded[kept.digest]
