"""The routes that answer tasks on one note, or on the notes of a batch."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import ValidationError

from clinprompt.jobs.task_table import ServedTask
from clinprompt.serving.access import Refused, failed
from clinprompt.serving.engine import Job
from clinprompt.serving.error_answers import without_input
from clinprompt.serving.predict_requests import NoteAnswers, NoteRequest
from clinprompt.serving.state import ServerState, answer_values
from clinprompt.tasks.records import Record

_IN_FLIGHT = 32  # notes of one batch request that are in the queue at a time


def predict_routes(state: ServerState) -> APIRouter:
    """Return the routes that answer tasks on notes."""
    router = APIRouter(prefix="/v1/predict", tags=["answers"])

    @router.post("")
    async def predict(note: NoteRequest, request: Request) -> NoteAnswers:
        """Answer one or many tasks on one note."""
        return await _answer(state, note, request.is_disconnected)

    @router.post("/batch")
    async def predict_batch(request: Request) -> StreamingResponse:
        """Answer JSON Lines, a note each; the answers are streamed in the same order.

        A line that cannot be answered gives a line with its number and an error.
        """
        body = await request.body()
        lines = [
            (number, line) for number, line in enumerate(body.split(b"\n"), start=1) if line.strip()
        ]
        return StreamingResponse(
            _batch(state, lines, request.is_disconnected), media_type="application/x-ndjson"
        )

    return router


async def _answer(
    state: ServerState,
    note: NoteRequest,
    is_gone: Callable[[], Awaitable[bool]],
    *,
    waits: bool = False,
) -> NoteAnswers:
    started = perf_counter()
    tasks = [state.task(name) for name in note.tasks] or [state.only_task()]
    with state.counted(tasks, started=started):
        jobs = await _submitted(state, tasks, note.record(), waits=waits)
        predictions = await state.answers(jobs, is_gone)
    pairs = zip(tasks, predictions, strict=True)
    return NoteAnswers(
        id=note.id,
        answers=[answer_values(*pair) for pair in pairs],
        seconds=round(perf_counter() - started, 4),
    )


async def _submitted(
    state: ServerState, tasks: Sequence[ServedTask], record: Record, *, waits: bool
) -> list[Job]:
    """Add the tasks on a note to the queue; if it is full and this request ``waits``, try again."""
    while True:
        try:
            jobs = [Job(await state.question(task, record)) for task in tasks]
            state.submit(jobs)
            return jobs
        except Refused as refused:
            if refused.status != 429 or not waits:
                raise
        await asyncio.sleep(0.1)


async def _batch(
    state: ServerState, lines: list[tuple[int, bytes]], is_gone: Callable[[], Awaitable[bool]]
) -> AsyncIterator[bytes]:
    """Yield one line of JSON for each line of a batch, some of which are answered at a time."""
    running: list[asyncio.Task[dict[str, Any]]] = []
    coming = iter(lines)
    try:
        while True:
            while len(running) < _IN_FLIGHT and (following := next(coming, None)):
                running.append(asyncio.create_task(_line(state, *following, is_gone)))
            if not running:
                return
            values = await running[0]
            del running[0]
            if await is_gone():
                return
            yield (json.dumps(values, ensure_ascii=False) + "\n").encode()
    finally:
        for task in running:
            task.cancel()


async def _line(
    state: ServerState, number: int, line: bytes, is_gone: Callable[[], Awaitable[bool]]
) -> dict[str, Any]:
    try:
        try:
            note = NoteRequest.model_validate_json(line)
        except ValidationError as error:
            raise Refused(422, "invalid_request", without_input(error.errors())) from error
        return (await _answer(state, note, is_gone, waits=True)).model_dump()
    except Refused as refused:
        return {"line": number, **refused.content()}
    except Exception as error:
        return {"line": number, **failed(error).content()}
