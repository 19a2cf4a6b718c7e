"""The routes that offer notes of a task, and take corrections of them.

They answer 404 if the server has no workspace.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import time
from typing import Any

from fastapi import APIRouter, Request

from clinprompt.errors import DataError, SettingError
from clinprompt.serving.access import Refused
from clinprompt.serving.teaching.corrections import Offer
from clinprompt.serving.teaching.task import Corrected, TaughtTask
from clinprompt.serving.teaching_api import PREFIX, OptionalWorkspace, check_known, counted_values
from clinprompt.serving.teaching_requests import CorrectionBody, Nothing, NumberBody, OrderBody

Values = dict[str, Any]


def corrections_routes(workspace: OptionalWorkspace) -> APIRouter:
    """Return the routes that offer notes, and take corrections of them."""
    router = APIRouter(prefix=f"{PREFIX}/tasks/{{task}}", tags=["workspace"])

    @router.post("/offers")
    async def offer(task: str, body: OrderBody, request: Request) -> Values:
        """Offer the next note to be corrected, with the answer of the served prompt."""
        found = workspace.task(task)
        offered = await workspace.teacher.offer(found, body.order, request.is_disconnected)
        if offered is None:
            return {"note": None, "waiting": 0}
        return _offer_values(found, offered)

    @router.post("/corrections")
    async def correct(task: str, body: CorrectionBody) -> Values:
        """Keep the right answer to a note that was offered."""
        found = workspace.task(task)
        check_known(found, body.note)
        with _refusing():
            made = found.correct(body.note, body.answer, time=time())
        is_same = found.is_same(made.said, made.answer)
        return {"note": body.note, "is_same": is_same, **counted_values(found)}

    @router.post("/skips")
    async def skip(task: str, body: NumberBody) -> Values:
        """Keep that a note is not to be offered again."""
        found = workspace.task(task)
        check_known(found, body.note)
        with _refusing():
            found.skip(body.note, time=time())
        return {"note": body.note, **counted_values(found)}

    @router.post("/undo")
    async def undo(task: str, _: Nothing) -> Values:
        """Take back the last correction or skip."""
        found = workspace.task(task)
        if not found.corrections.can_undo:
            raise Refused(409, "nothing_to_undo", "nothing was corrected or skipped yet")
        made = found.undo(time=time())
        return {
            "undone": "skipped" if made.answer is None else "corrected",
            "answer": made.answer,
            "offer": _offer_values(found, made.offer),
            **counted_values(found),
        }

    @router.get("/corrections")
    async def corrections(task: str) -> Values:
        """List the corrections of a task."""
        found = workspace.task(task)
        rows = [_correction_values(found, one) for one in found.corrected()]
        return {"corrections": rows}

    return router


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn what is wrong with a correction into an answer with an error status."""
    try:
        yield
    except DataError as error:
        place = str(error).partition(":")[0]
        raise Refused(422, "invalid_answer", str(error), param=place) from error
    except SettingError as error:
        raise Refused(409, "not_offered", str(error), param="note") from error


def _correction_values(task: TaughtTask, one: Corrected) -> Values:
    offer = one.made.offer
    return {
        **one.note.values(),
        "answer": one.made.answer,
        "said": offer.said,
        "prompt": offer.prompt,
        "order": offer.order,
        "counts": offer.counts,
        "is_same": task.is_same(one.said, one.answer),
        "time": one.made.time,
    }


def _offer_values(task: TaughtTask, offer: Offer) -> Values:
    return {
        "note": task.notes[offer.note].values(),
        "suggestion": offer.said,
        "prompt": offer.prompt,
        "order": offer.order,
        "compared": offer.compared,
        "counts": offer.counts,
        "waiting": task.counts()["waiting"],
    }
