"""The HTTP interface: tasks, answers, batches, health and metrics."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException

from clinprompt.errors import RunError
from clinprompt.jobs.export import made_up_record
from clinprompt.jobs.task_table import ServedTask
from clinprompt.methods.table import ZERO_SHOT
from clinprompt.serving.access import Refused, failed, internal_error
from clinprompt.serving.engine import Job
from clinprompt.serving.failures import log_of_loop
from clinprompt.serving.openai_api import openai_routes
from clinprompt.serving.page import page_routes
from clinprompt.serving.state import ServerState, answer_values, record_of
from clinprompt.serving.teaching.teacher import Teacher
from clinprompt.serving.teaching_api import OptionalWorkspace, teaching_routes
from clinprompt.serving.teaching_corrections_api import corrections_routes
from clinprompt.serving.teaching_requests import NAMES
from clinprompt.serving.teaching_results_api import export_routes, results_routes
from clinprompt.tasks.kinds import instruction_of
from clinprompt.tasks.records import Record
from clinprompt.version import __version__

_ABOUT = {
    "name": "clinprompt",
    "documentation": "docs/serving.md of clinprompt, and GET /openapi.json",
    "authorization": "All paths but /, /workbench/, /healthz and /readyz need the header "
    "Authorization: Bearer TOKEN, with the token that the server printed at its start, or that of "
    "its --token-file.",
}
_IN_FLIGHT = 32  # notes of one batch request that are in the queue at a time


class NoteRequest(BaseModel):
    """A note and the tasks to answer on it; ``tasks`` may be absent if only one is served."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[str] = Field(default_factory=list, min_length=1, max_length=100)
    text: str = ""
    fields: dict[str, str] = Field(default_factory=dict)
    options: list[str] = Field(default_factory=list)
    id: str = ""

    def record(self) -> Record:
        """Return the note as a record.

        Raises:
            Refused: a field cannot be used.
        """
        fields = {**({"text": self.text} if self.text else {}), **self.fields}
        return record_of(fields, self.options)


class NoteAnswers(BaseModel):
    """The answers of the tasks, in the order in which these were named."""

    id: str
    answers: list[dict[str, Any]]
    seconds: float


class PromptInfo(BaseModel):
    """How large a prompt is: the positions that it takes in the input, and the bytes saved."""

    positions: int
    bytes: int


class TaskInfo(BaseModel):
    """What one served task is; ``instruction`` is in the words of its labels.

    ``answer`` is the form of its answers: spans, relations, label, choice (which needs options) or
    text. ``is_trained`` is false for a prompt that saw no example of the task.
    """

    name: str
    task: str
    title: str
    kind: str
    answer: str
    labels: list[str]
    instruction: str
    fields: list[str]
    method: str
    shots: int
    is_trained: bool
    scores: dict[str, float]
    prompt: PromptInfo


def make_app(state: ServerState, teacher: Teacher | None = None) -> FastAPI:
    """Return the application; starting it starts the engine, stopping it answers what waits.

    Without a ``teacher``, tasks are only answered.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(log_of_loop)
        state.engine.start()
        if teacher:
            teacher.start()
        yield
        if teacher:
            await teacher.stop()
        await asyncio.to_thread(state.engine.stop)

    app = FastAPI(
        title="clinprompt",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect repeats the query
    )
    app.include_router(_overview(app))
    app.include_router(page_routes())
    app.include_router(_health(state))
    app.include_router(_tasks(state))
    app.include_router(_answers(state))
    app.include_router(openai_routes(state))
    workspace = OptionalWorkspace(teacher)
    app.include_router(teaching_routes(workspace, state.limits))
    app.include_router(corrections_routes(workspace))
    app.include_router(results_routes(workspace))
    app.include_router(export_routes(state))
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RunError, _not_written)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)
    return app


def _overview(app: FastAPI) -> APIRouter:
    router = APIRouter(tags=["overview"])

    @router.get("/")
    def overview() -> dict[str, Any]:
        """List the paths of this server (no token needed)."""
        paths = {
            f"{method.upper()} {path}": one["description"].partition("\n")[0]
            for path, methods in app.openapi()["paths"].items()
            for method, one in methods.items()
        }
        return {**_ABOUT, "paths": paths}

    return router


def _health(state: ServerState) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    def healthz() -> dict[str, str]:
        """Say that the process answers."""
        return {"status": "ok"}

    @router.get("/readyz")
    def readyz() -> Response:
        """Say whether questions are accepted."""
        is_ready = state.engine.is_running
        return JSONResponse(
            {"status": "ready" if is_ready else "not ready"}, status_code=200 if is_ready else 503
        )

    @router.get("/metrics")
    def metrics() -> Response:
        """Return numbers for Prometheus."""
        return Response(generate_latest(state.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def _tasks(state: ServerState) -> APIRouter:
    router = APIRouter(prefix="/v1/tasks", tags=["tasks"])

    @router.get("")
    def tasks() -> list[TaskInfo]:
        """List the tasks that are served."""
        return [_info(task) for task in state.tasks]

    @router.post("/reload")
    async def reload() -> list[TaskInfo]:
        """Read the store again: new, changed and removed prompts take effect at once."""
        await state.reload()
        return [_info(task) for task in state.tasks]

    return router


def _answers(state: ServerState) -> APIRouter:
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
    state: ServerState, note: NoteRequest, is_gone: Callable[[], Awaitable[bool]]
) -> NoteAnswers:
    started = perf_counter()
    tasks = [state.task(name) for name in note.tasks] or [state.only_task()]
    with state.counted(tasks, started=started):
        record = note.record()
        jobs = [Job(await state.question(task, record)) for task in tasks]
        state.submit(jobs)
        predictions = await state.answers(jobs, is_gone)
    pairs = zip(tasks, predictions, strict=True)
    return NoteAnswers(
        id=note.id,
        answers=[answer_values(*pair) for pair in pairs],
        seconds=round(perf_counter() - started, 4),
    )


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
            raise Refused(422, "invalid_request", _without_input(error.errors())) from error
        while True:
            try:
                return (await _answer(state, note, is_gone)).model_dump()
            except Refused as refused:
                if refused.status != 429:
                    raise
                await asyncio.sleep(0.1)  # the queue is full: this batch can wait
    except Refused as refused:
        return {"line": number, **refused.content()}
    except Exception as error:
        return {"line": number, **failed(error).content()}


def _info(task: ServedTask) -> TaskInfo:
    card, artifact = task.loaded.card, task.loaded.artifact
    manifest = artifact.manifest
    return TaskInfo(
        name=task.name,
        task=card.name,
        title=card.title,
        kind=card.type,
        answer=card.answer,
        labels=list(card.labels),
        instruction=instruction_of(card),
        fields=list(made_up_record(card).fields),
        method=manifest.method,
        shots=manifest.shots,
        is_trained=manifest.method != ZERO_SHOT,
        scores=manifest.scores,
        prompt=PromptInfo(positions=manifest.length, bytes=artifact.num_bytes),
    )


def _without_input(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return validation errors without what the client sent, which may be text of a record."""
    known = NAMES | set(NoteRequest.model_fields) | {"body", "model", "messages", "prompt"}
    parts = []
    for error in errors:
        place = [str(one) if isinstance(one, int) or one in known else "…" for one in error["loc"]]
        message = "not valid JSON" if error["type"] == "json_invalid" else error["msg"]
        parts.append(f"{'.'.join(place)}: {message}" if place else message)
    return "; ".join(parts)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    return JSONResponse(error.content(), status_code=error.status)


async def _not_written(_: Request, error: Exception) -> JSONResponse:
    """Answer that a file could not be written; the message names the file and the remedy."""
    assert isinstance(error, RunError)
    return JSONResponse(Refused(500, "not_written", str(error)).content(), status_code=500)


async def _not_valid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    refused = Refused(422, "invalid_request", _without_input(error.errors()))
    return JSONResponse(refused.content(), status_code=422)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    refused = Refused(error.status_code, "http_error", str(error.detail))
    return JSONResponse(refused.content(), status_code=error.status_code, headers=error.headers)


async def _unexpected(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse(internal_error().content(), status_code=500)  # the guard logs the error
