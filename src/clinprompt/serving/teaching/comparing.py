"""Let the old and the new prompt answer the corrections side by side, in the background.

Owns the comparisons, which are kept in memory only.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clinprompt.serving.access import Refused
from clinprompt.serving.teaching.adapting import Run
from clinprompt.serving.teaching.note_answers import NoteAnswers, Said
from clinprompt.serving.teaching.prompts import KeptPrompt
from clinprompt.serving.teaching.scores import Beside, scores_beside
from clinprompt.serving.teaching.task import Corrected, TaughtTask

_AT_A_TIME = 8  # notes that are in the queue
_SECONDS_TO_WAIT = 0.2  # for a comparison; then the answer says how far it is


# The task, the new and the old prompt, and the notes with the times of their corrections.
_Key = tuple[str, str, str, tuple[tuple[int, float], ...]]


@dataclass(slots=True)
class _Progress:
    """How many answers there are, and of how many."""

    of: int
    done: int = 0


@dataclass(frozen=True, slots=True)
class _Comparison:
    work: "asyncio.Task[dict[str, Any]]"
    progress: _Progress


class Comparisons:
    """What was compared, by the prompts and the corrections."""

    def __init__(self, answers: NoteAnswers) -> None:
        self._answers = answers
        self._found: dict[_Key, _Comparison] = {}

    def forget(self) -> None:
        """Forget all comparisons: a note was removed."""
        self._found.clear()

    def _forget_of(self, task: str, new: str) -> None:
        for key in [one for one in self._found if one[:2] == (task, new)]:
            del self._found[key]

    async def of(self, task: TaughtTask, run: Run) -> dict[str, Any]:
        """Return the comparison of a run's prompt with the one before, or how far it is.

        Raises:
            Refused: the run has made no prompt yet (409), or a note could not be answered.
        """
        if run.about.number not in task.prompts:
            raise Refused(409, "not_done", "the run has made no prompt yet; wait until it is done")
        new = task.prompts[run.about.number]
        is_served = task.prompts.served == new
        old = (task.prompts.before if is_served else task.prompts.served) or new
        corrected = task.corrected()
        moment = tuple((one.note.number, one.made.time) for one in corrected)
        key = (task.name, new.digest, old.digest, moment)
        if key not in self._found:
            self._forget_of(task.name, new.digest)
            progress = _Progress(2 * len(corrected))
            work = asyncio.create_task(self._compare(task, (old, new), corrected, progress))
            self._found[key] = _Comparison(work, progress)
        found = self._found[key]
        await asyncio.wait([found.work], timeout=_SECONDS_TO_WAIT)
        if not found.work.done():
            return {
                "state": "comparing",
                "done": found.progress.done,
                "of": found.progress.of,
            }
        if found.work.exception():
            self._found.pop(key, None)  # the next request tries again
        return found.work.result()

    async def _compare(
        self,
        task: TaughtTask,
        both: tuple[KeptPrompt, KeptPrompt],
        corrected: Sequence[Corrected],
        progress: _Progress,
    ) -> dict[str, Any]:
        old, new = both
        first = await self._all(task, old, corrected, progress)
        last = await self._all(task, new, corrected, progress)
        rows = [
            Beside(
                one, before.prediction.answer, after.prediction.answer, new.was_trained_on(one.note)
            )
            for one, before, after in zip(corrected, first, last, strict=True)
        ]
        shown = zip(rows, first, last, strict=True)
        return {
            "state": "ready",
            "old": {"version": old.version, "prompt": old.digest},
            "new": {"version": new.version, "prompt": new.digest},
            **scores_beside(task, rows),
            "notes": [
                {
                    **_shown(task, row, before, after),
                    "old_is_trained": old.was_trained_on(row.corrected.note),
                }
                for row, before, after in shown
            ],
        }

    async def _all(
        self,
        task: TaughtTask,
        kept: KeptPrompt,
        corrected: Sequence[Corrected],
        progress: _Progress,
    ) -> list[Said]:
        prompt, limit = await self._answers.prompt(task.name, kept), asyncio.Semaphore(_AT_A_TIME)

        async def one_of(one: Corrected) -> Said:
            async with limit:
                said = await self._answers.ask_patiently(task.name, one.note, prompt)
            progress.done += 1
            return said

        return list(await asyncio.gather(*map(one_of, corrected)))


def _shown(task: TaughtTask, row: Beside, old: Said, new: Said) -> dict[str, Any]:
    one = row.corrected
    return {
        **one.note.values(),
        "answer": one.made.answer,
        "old": old.values,
        "new": new.values,
        "old_is_same": task.is_same(row.old, one.answer),
        "new_is_same": task.is_same(row.new, one.answer),
        "is_trained": row.is_trained,
    }
