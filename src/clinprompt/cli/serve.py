"""The command that serves the tasks of a store."""

from pathlib import Path
from typing import Annotated

import typer

from clinprompt.cli.screen import Device, Free, say
from clinprompt.errors import SettingError, number_of
from clinprompt.settings.defaults import NOTE_CHARACTERS


def serve(
    store: Annotated[
        Path,
        typer.Argument(help="Folder of a store, such as runs/NAME/store, or of one saved prompt."),
    ],
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
            f"serve needs the package {error.name}: pip install 'clinprompt[serve]'"
        ) from error
    from clinprompt.jobs.task_table import load_backbone_for
    from clinprompt.serving.access import Limits
    from clinprompt.serving.state import ServerState

    place = listening(host, port, token_file=token_file, allowed_hosts=tuple(allowed_host or ()))
    limits = Limits(rows=max_rows, seconds=max_seconds, text_characters=max_characters)
    state = ServerState(
        load_backbone_for(store, backbone, device=device), store, limits=limits, free=free
    )
    say(f"{number_of(len(state.tasks.names), 'task')}: {', '.join(state.tasks.names)}")
    say(f"listening on {place.url}")
    if token_file is None:
        say(f"token of this run: {place.token}")
        say(f"open {place.page_url}")
    else:
        say(f"open {place.url}/workbench/ and give the token there")
    run(state, place)
