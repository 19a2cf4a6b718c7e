"""The HTTP interface: the application with all its routes, and those of tasks and health."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from clinprompt.jobs.export import made_up_record
from clinprompt.jobs.task_table import ServedTask
from clinprompt.methods.table import ZERO_SHOT
from clinprompt.serving.error_answers import add_error_answers
from clinprompt.serving.failures import log_of_loop
from clinprompt.serving.openai_api import openai_routes
from clinprompt.serving.page import page_routes
from clinprompt.serving.predict_api import predict_routes
from clinprompt.serving.state import ServerState
from clinprompt.serving.teaching.teacher import Teacher
from clinprompt.serving.teaching_api import OptionalWorkspace, teaching_routes
from clinprompt.serving.teaching_corrections_api import corrections_routes
from clinprompt.serving.teaching_results_api import export_routes, results_routes
from clinprompt.tasks.kinds import instruction_of
from clinprompt.version import __version__

_ABOUT = {
    "name": "clinprompt",
    "documentation": "docs/serving.md of clinprompt, and GET /openapi.json",
    "authorization": "All paths but /, /workbench/, /healthz and /readyz need the header "
    "Authorization: Bearer TOKEN, with the token that the server printed at its start, or that of "
    "its --token-file.",
}


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
    app.include_router(predict_routes(state))
    app.include_router(openai_routes(state))
    workspace = OptionalWorkspace(teacher)
    app.include_router(teaching_routes(workspace, state.limits))
    app.include_router(corrections_routes(workspace))
    app.include_router(results_routes(workspace))
    app.include_router(export_routes(state))
    add_error_answers(app)
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
