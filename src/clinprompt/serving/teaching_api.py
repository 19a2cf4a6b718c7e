"""The routes of a workspace: its tasks, and the notes to be corrected.

They answer 404 if the server has no workspace. Notes are corrected in ``teaching_corrections_api``,
and what follows from that is in ``teaching_results_api``.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from clinprompt.errors import SettingError
from clinprompt.serving.access import Limits, Refused
from clinprompt.serving.state import hint_for
from clinprompt.serving.teaching.new_card import KINDS, FieldError
from clinprompt.serving.teaching.notes import NewNote
from clinprompt.serving.teaching.task import TaughtTask
from clinprompt.serving.teaching.teacher import Teacher
from clinprompt.serving.teaching.workspace import NameTakenError
from clinprompt.serving.teaching_requests import (
    NoteBody,
    NotesBody,
    TaskBody,
)
from clinprompt.tasks.kinds import instruction_of

PREFIX = "/v1/workspace"
ENOUGH = 16  # corrections that the metaprompt in the package was tuned with
Values = dict[str, Any]


class OptionalWorkspace:
    """The workspace of a server, if it has one, and its tasks by name."""

    def __init__(self, teacher: Teacher | None) -> None:
        self._teacher = teacher

    @property
    def teacher(self) -> Teacher:
        """Return what teaches.

        Raises:
            Refused: the server has no workspace (404).
        """
        if self._teacher is None:
            raise Refused(
                404,
                "no_workspace",
                "this server only answers; to correct and teach, start it with --workspace FOLDER",
            )
        return self._teacher

    def task(self, name: str) -> TaughtTask:
        """Return a task of the workspace.

        Raises:
            Refused: there is none of this name, or no workspace (404).
        """
        tasks = self.teacher.tasks
        if name not in tasks:
            hint = hint_for(name, tasks.names)
            text = f"the workspace has no task of this name; {hint}"
            raise Refused(404, "unknown_task", text, param="task")
        return tasks[name]


def teaching_routes(workspace: OptionalWorkspace, limits: Limits) -> APIRouter:
    """Return the routes of tasks and their notes."""
    router = APIRouter(tags=["workspace"])
    _add_tasks(router, workspace)
    _add_notes(router, workspace, limits)
    return router


def _add_tasks(router: APIRouter, workspace: OptionalWorkspace) -> None:
    @router.get(PREFIX)
    async def describe() -> Values:
        """Describe the workspace: its tasks, the kinds of new ones, and what is being adapted."""
        return workspace_values(workspace.teacher)

    @router.post(f"{PREFIX}/tasks")
    async def make(body: TaskBody) -> Values:
        """Make a task, which is answered at once by the prompt that it starts from."""
        teacher = workspace.teacher
        try:
            task = teacher.tasks.make(body.new_task(), taken=teacher.served_names)
        except NameTakenError as error:
            raise Refused(409, "name_taken", str(error), param=error.field) from error
        except SettingError as error:
            field = error.field if isinstance(error, FieldError) else "kind"
            raise Refused(422, "invalid_card", str(error), param=field) from error
        await teacher.reload()
        return task_values(task)

    @router.get(f"{PREFIX}/tasks/{{task}}")
    async def show(task: str) -> Values:
        """Describe a task of the workspace."""
        return task_values(workspace.task(task))

    @router.delete(f"{PREFIX}/tasks/{{task}}")
    async def remove(task: str) -> Values:
        """Remove a task with its notes, corrections and prompts."""
        teacher = workspace.teacher
        if not teacher.tasks.has_rest_of(task):  # a repeated request removes the rest
            workspace.task(task)
        await teacher.remove_task(task)
        return {"tasks": [task_values(one) for one in teacher.tasks]}


def _add_notes(router: APIRouter, workspace: OptionalWorkspace, limits: Limits) -> None:
    path = f"{PREFIX}/tasks/{{task}}/notes"

    @router.post(path)
    async def add(task: str, body: NotesBody) -> Values:
        """Keep notes to be corrected."""
        found = workspace.task(task)
        coming = [
            _note(found, one, f"notes.{number}", limits) for number, one in enumerate(body.notes)
        ]
        try:
            kept = found.notes.add(coming)
        except SettingError as error:
            raise Refused(409, "too_many_notes", str(error), param="notes") from error
        rows = [{"note": note.number, "id": note.id, "is_new": is_new} for note, is_new in kept]
        added = sum(is_new for _, is_new in kept)
        return {"added": added, "known": len(kept) - added, "notes": rows}

    @router.get(path)
    async def list_(task: str) -> Values:
        """List the notes of a task, what became of each, and its right answer if it has one."""
        found = workspace.task(task)
        state: Callable[[int], str] = found.corrections.state
        answers = {one.offer.note: one.answer for one in found.corrections.corrected()}
        rows = [
            {**one.values(), "state": state(one.number), "answer": answers.get(one.number)}
            for one in found.notes
        ]
        return {"notes": rows}

    @router.delete(f"{path}/{{note}}")
    async def remove(task: str, note: int) -> Values:
        """Remove a note and its correction."""
        found = workspace.task(task)
        check_known(found, note)
        await workspace.teacher.remove_notes(found, {note})
        return found.counts()

    @router.delete(path)
    async def remove_open(task: str) -> Values:
        """Remove all notes that wait or were skipped."""
        found = workspace.task(task)
        state = found.corrections.state
        gone = {one.number for one in found.notes if state(one.number) != "corrected"}
        await workspace.teacher.remove_notes(found, gone)
        return found.counts()


def workspace_values(teacher: Teacher) -> Values:
    """Return the workspace for a client."""
    adapting = teacher.adapting
    return {
        "tasks": [task_values(task) for task in teacher.tasks],
        "kinds": [
            {
                "kind": one.name,
                "answer": one.answer,
                "title": one.title,
                "has_labels": one.least_labels > 0,
                "least_labels": one.least_labels,
                "fields": list(one.fields),
            }
            for one in KINDS.values()
        ],
        "reads_instructions": teacher.recipe.reads_instructions,
        "adapting": {"task": adapting[0].name, "run": adapting[1].about.number}
        if adapting
        else None,
        "enough": ENOUGH,
    }


def task_values(task: TaughtTask) -> Values:
    """Return a task for a client."""
    card, served, before = task.card, task.prompts.served, task.prompts.before
    return {
        "name": task.name,
        "kind": task.kind.name,
        "answer": card.answer,
        "title": card.title,
        "labels": [{"name": name, "word": word} for name, word in card.labels.items()],
        "instruction": instruction_of(card),
        "fields": list(task.kind.fields),
        "metric": card.metric,
        **counted_values(task),
        "served": served.values() if served else None,
        "can_undo_use": before is not None,
        "before": before.values() if before else None,
        "run": task.runs[-1].values() if task.runs else None,
    }


def counted_values(task: TaughtTask) -> Values:
    """Return how many notes are in each state, and whether a correction can be undone."""
    return {"notes": task.counts(), "can_undo_correction": task.corrections.can_undo}


def check_known(task: TaughtTask, note: int) -> None:
    """Check that a task has a note.

    Raises:
        Refused: it has not (404).
    """
    if note not in task.notes:
        raise Refused(404, "unknown_note", "the task has no note of this number", param="note")


def _note(task: TaughtTask, body: NoteBody, place: str, limits: Limits) -> NewNote:
    """Return a note of a request with the fields that the task reads.

    Raises:
        Refused: a field is missing (422), or the note is too long (413).
    """
    given = {"text": body.text, **body.fields}
    fields = {name: given.get(name, "") for name in task.kind.fields}
    for name, text in fields.items():
        if not text.strip():
            where = f"{place}.text" if name == "text" else f"{place}.fields.{name}"
            message = f"{where}: is missing or blank; tasks of this kind read it"
            raise Refused(422, "invalid_note", message, param=where)
    size = sum(map(len, fields.values()))
    if size > limits.text_characters:
        message = f"{place}: has {size} characters; the limit is {limits.text_characters}"
        raise Refused(413, "text_too_long", message, param=place)
    if any("\ud800" <= one <= "\udfff" for text in (body.id, *fields.values()) for one in text):
        message = f"{place}: a text has half a character; send it whole, as UTF-8"
        raise Refused(422, "invalid_note", message, param=place)
    return NewNote(body.id, fields)
