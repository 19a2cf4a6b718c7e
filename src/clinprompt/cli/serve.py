"""The command that serves the tasks of a store."""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinprompt.cli.screen import Device, Dtype, Free, say
from clinprompt.errors import SettingError, how_to_install, number_of
from clinprompt.settings.defaults import NOTE_CHARACTERS, SHIPPED

if TYPE_CHECKING:
    from clinprompt.serving.access import Limits
    from clinprompt.serving.server import Listening
    from clinprompt.serving.state import ServerState
    from clinprompt.serving.teaching.teacher import Teacher


def serve(
    store: Annotated[
        Path | None,
        typer.Argument(help="Folder of a store, such as runs/NAME/store, or of one saved prompt."),
    ] = None,
    workspace: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which the page keeps notes and corrections, to make and adapt tasks. "
            "Without STORE, its prompts are served."
        ),
    ] = None,
    metaprompt: Annotated[
        str,
        typer.Option(help="With --workspace: what tasks start from, as for 'adapt'."),
    ] = SHIPPED,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="With --workspace: a setting of adaptations. Repeatable."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the secret that clients send. By default one is made."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(help="Name under which clients may address the server. Repeatable."),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Folder or GGUF file of the backbone, if it was moved.")
    ] = "",
    device: Device = "auto",
    dtype: Dtype = "auto",
    free: Free = False,
    max_rows: Annotated[
        int, typer.Option(help="Rows that may wait or be answered at a time.", min=1)
    ] = 1000,
    max_seconds: Annotated[
        float, typer.Option(help="Seconds that an answer may take.", min=0.1)
    ] = 120.0,
    max_characters: Annotated[
        int, typer.Option(help="Characters of one note.", min=1)
    ] = NOTE_CHARACTERS,
) -> None:
    r"""Answer any task of a store over HTTP, from one copy of the model.

    POST /v1/predict answers a note: {"tasks": \["NAME"], "text": "..."}.
    "tasks" may be left out if the store has only one. GET /v1/tasks lists
    them with the fields that they read, and GET / lists all paths. Clients
    send the header "Authorization: Bearer TOKEN". See docs/serving.md.
    """
    try:
        from clinprompt.serving.server import listening
        from clinprompt.serving.server import serve as run
    except ModuleNotFoundError as error:
        raise SettingError(
            f"serve needs the package {error.name}; {how_to_install('serve')}"
        ) from error
    from clinprompt.serving.access import Limits
    from clinprompt.serving.engine import leave_cores_to_engine
    from clinprompt.serving.teaching.places import claimed

    place = listening(host, port, token_file=token_file, allowed_hosts=tuple(allowed_host or ()))
    limits = Limits(rows=max_rows, seconds=max_seconds, text_characters=max_characters)
    changes = tuple(overrides or ())
    choice = _Choice(store, workspace, metaprompt, changes, backbone, device, dtype, free)
    num_cores = leave_cores_to_engine()  # before anything is computed
    with claimed(workspace) if workspace else nullcontext():
        state, teacher = _opened(choice, limits, num_cores)
        _say_what_is_served(state, place, is_token_known=token_file is not None)
        run(state, place, teacher)


def _say_what_is_served(state: "ServerState", place: "Listening", *, is_token_known: bool) -> None:
    names = state.tasks.names
    say(f"{number_of(len(names), 'task')}: {', '.join(names)}" if names else "no task yet")
    say(f"listening on {place.url}")
    if not is_token_known:
        say(f"token of this run: {place.token}")
        say(f"open {place.page_url}")
    else:
        say(f"open {place.url}/workbench/ and give the token there")


@dataclass(frozen=True)
class _Choice:
    """What is served, and how it is adapted."""

    store: Path | None
    workspace: Path | None
    metaprompt: str
    changes: tuple[str, ...]
    backbone: str
    device: str
    dtype: str
    free: bool


def _opened(
    choice: _Choice, limits: "Limits", num_cores: int
) -> "tuple[ServerState, Teacher | None]":
    """Return the tasks to serve, and what teaches them if there is a workspace."""
    from clinprompt.jobs.task_table import load_backbone_for
    from clinprompt.serving.state import ServerState

    if choice.workspace is None:
        if choice.store is None:
            raise SettingError(
                "serve needs a STORE, such as runs/NAME/store, or --workspace FOLDER to make tasks "
                "on the page"
            )
        if choice.metaprompt != SHIPPED or choice.changes:
            raise SettingError("--metaprompt and --set have no effect without --workspace")
        model = load_backbone_for(
            choice.store, choice.backbone, device=choice.device, dtype=choice.dtype
        )
        state = ServerState(
            model, choice.store, limits=limits, free=choice.free, num_cores=num_cores
        )
        return state, None
    return _opened_workspace(choice, choice.workspace, limits, num_cores)


def _opened_workspace(
    choice: _Choice, workspace: Path, limits: "Limits", num_cores: int
) -> "tuple[ServerState, Teacher]":
    from clinprompt.serving.state import ServerState
    from clinprompt.serving.teaching.opening import backbone_for, open_tasks, recipe_of
    from clinprompt.serving.teaching.teacher import Teacher

    os.umask(0o077)  # notes and corrections are for the user of the server alone
    store = choice.store or workspace / "store"
    named = [f"backbone={choice.backbone}"] if choice.backbone else []
    named += [f"dtype={choice.dtype}"] if choice.dtype != "auto" else []
    recipe = recipe_of(choice.metaprompt, [*choice.changes, *named, f"device={choice.device}"])
    model = backbone_for(recipe, store, choice.backbone, device=choice.device)
    tasks = open_tasks(workspace, store, model, recipe)
    state = ServerState(
        model,
        store,
        limits=limits,
        free=choice.free,
        may_be_empty=True,
        num_cores=num_cores,
    )
    return state, Teacher(state, model, tasks, recipe)
