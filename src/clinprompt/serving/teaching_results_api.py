"""The routes of what follows from corrections: scores, adaptations, prompts, and files.

They answer 404 if the server has no workspace.
"""

import asyncio
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Response

from clinprompt.errors import DataError, SettingError
from clinprompt.serving.access import Refused
from clinprompt.serving.state import ServerState
from clinprompt.serving.teaching.adapting import Run
from clinprompt.serving.teaching.answer_rows import Answered
from clinprompt.serving.teaching.scores import Evidence, honest_scores
from clinprompt.serving.teaching.take_out import (
    Form,
    Taken,
    answers_file,
    artifact_file,
    task_folder_file,
)
from clinprompt.serving.teaching.task import Corrected, TaughtTask
from clinprompt.serving.teaching_api import PREFIX, OptionalWorkspace, task_values
from clinprompt.serving.teaching_requests import AnswerBody, ExportBody, Nothing, VersionBody
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds.answer_values import read_answer
from clinprompt.tasks.records import Record

Values = dict[str, Any]
_OF_TASK = f"{PREFIX}/tasks/{{task}}"


def results_routes(workspace: OptionalWorkspace) -> APIRouter:
    """Return the routes of scores, runs, prompts and files of tasks."""
    router = APIRouter(tags=["workspace"])
    _add_runs(router, workspace)
    _add_prompts(router, workspace)
    _add_files(router, workspace)
    return router


def export_routes(state: ServerState) -> APIRouter:
    """Return the route that writes answers as a file; it needs no workspace."""
    router = APIRouter(tags=["answers"])

    @router.post("/v1/export/batch")
    async def export(body: ExportBody) -> Response:
        """Write answers of a task, which the client has, as a file."""
        card = state.task(body.task).loaded.card
        given = [
            Answered(_answered(card, one, f"answers.{at}")) for at, one in enumerate(body.answers)
        ]
        return _file(await asyncio.to_thread(_written, card, given, body.form))

    return router


def _add_runs(router: APIRouter, workspace: OptionalWorkspace) -> None:
    @router.post(f"{_OF_TASK}/runs")
    async def begin(task: str, _: Nothing) -> Values:
        """Adapt the task to its corrections, or go on with the run that was stopped."""
        return (await workspace.teacher.begin_run(workspace.task(task))).values()

    @router.get(f"{_OF_TASK}/runs")
    async def list_(task: str) -> Values:
        """List the adaptations of a task."""
        return {"runs": [run.values() for run in workspace.task(task).runs]}

    @router.get(f"{_OF_TASK}/runs/{{run}}")
    async def show(task: str, run: int) -> Values:
        """Say how far an adaptation is."""
        return _run(workspace.task(task), run).values()

    @router.post(f"{_OF_TASK}/runs/{{run}}/stop")
    async def stop(task: str, run: int, _: Nothing) -> Values:
        """Stop an adaptation, which keeps what it has trained."""
        found = _run(workspace.task(task), run)
        await workspace.teacher.stop_run(found)
        return found.values()

    @router.get(f"{_OF_TASK}/runs/{{run}}/comparison")
    async def compare(task: str, run: int) -> Values:
        """Show the answers of the old and the new prompt to the corrected notes."""
        found = workspace.task(task)
        return await workspace.teacher.comparisons.of(found, _run(found, run))


def _add_prompts(router: APIRouter, workspace: OptionalWorkspace) -> None:
    @router.get(f"{_OF_TASK}/scores")
    async def scores(task: str) -> Values:
        """Score each prompt on the notes that were corrected while it was served."""
        return await asyncio.to_thread(honest_scores, Evidence.of(workspace.task(task)))

    @router.get(f"{_OF_TASK}/prompts")
    async def prompts(task: str) -> Values:
        """List the prompts of a task."""
        found = workspace.task(task).prompts
        return {"prompts": [{**one.values(), "is_served": one == found.served} for one in found]}

    @router.post(f"{_OF_TASK}/prompt")
    async def use(task: str, body: VersionBody) -> Values:
        """Serve another prompt of the task."""
        found = workspace.task(task)
        await workspace.teacher.use(found, body.version)
        return task_values(found)

    @router.post(f"{_OF_TASK}/prompt/undo")
    async def undo(task: str, _: Nothing) -> Values:
        """Serve the prompt that was served before."""
        found = workspace.task(task)
        await workspace.teacher.undo_use(found)
        return task_values(found)


def _add_files(router: APIRouter, workspace: OptionalWorkspace) -> None:
    @router.get(f"{_OF_TASK}/corrections/file")
    async def corrections(task: str, form: Form) -> Response:
        """Return the corrections as JSON Lines, CSV, brat or Label Studio."""
        found = workspace.task(task)
        given = [_corrected(one) for one in found.corrected()]
        return _file(await asyncio.to_thread(_written, found.card, given, form))

    @router.get(f"{_OF_TASK}/folder")
    async def folder(task: str) -> Response:
        """Return the task as a folder that clinprompt reads, with the log of corrections."""
        return _file(task_folder_file(workspace.task(task)))

    @router.get(f"{_OF_TASK}/artifact")
    async def artifact(task: str, version: int | None = None) -> Response:
        """Return a prompt of the task, by default the one that is served."""
        found = workspace.task(task)
        served = found.prompts.served
        kept = served if version is None else found.prompts.get(version)
        if kept is None:
            raise Refused(404, "unknown_version", "the task has no prompt of this version")
        return _file(artifact_file(found.name, kept.folder))


def _run(task: TaughtTask, number: int) -> Run:
    found = next((run for run in task.runs if run.about.number == number), None)
    if found is None:
        raise Refused(404, "unknown_run", "the task has no run of this number", param="run")
    return found


def _answered(card: TaskCard, body: AnswerBody, place: str) -> Record:
    """Return a note of a request with its answer.

    Raises:
        Refused: a value cannot be used (422).
    """
    fields = {**({"text": body.text} if body.text else {}), **body.fields}
    try:
        record = Record(body.id or place, fields, options=tuple(body.options))
    except DataError as error:
        message = f"{place}: a text has half a character; send it whole, as UTF-8"
        raise Refused(422, "invalid_note", message, param=place) from error
    try:
        answer = read_answer(card, record, body.answer)
    except DataError as error:
        where = f"{place}.{str(error).partition(':')[0]}"
        raise Refused(422, "invalid_answer", f"{place}.{error}", param=where) from error
    return Record(record.id, fields, answer, record.options)


def _corrected(one: Corrected) -> Answered:
    offer = one.made.offer
    return Answered(one.record, one.said, offer.said, offer.prompt)


def _written(card: TaskCard, given: list[Answered], form: Form) -> Taken:
    try:
        return answers_file(card, given, form)
    except SettingError as error:
        raise Refused(409, "not_in_brat", str(error), param="form") from error


def _file(taken: Taken) -> Response:
    name = quote(taken.name, safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(taken.content, media_type=taken.media_type, headers=headers)
