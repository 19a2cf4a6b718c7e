"""Commands for saved prompts: list, show, verify, export."""

from pathlib import Path
from typing import Annotated

import typer

from clinprompt.cli.screen import Json, console, print_records, say


def list_(
    store: Annotated[
        Path, typer.Argument(help="Folder of a store, for example runs/practice/store.")
    ],
    as_json: Json = False,
) -> None:
    """List the prompts of a store."""
    from clinprompt.prompts.store import Store

    kept = Store(store)
    manifests = {name: kept.load(name).manifest for name in kept.names()}
    records = [
        {"name": name, "kind": m.kind, "method": m.method, "length": m.length, "scores": m.scores}
        for name, m in manifests.items()
    ]
    print_records(records, as_json=as_json)


def show(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
) -> None:
    """Print the manifest of a prompt as JSON."""
    from clinprompt.prompts.artifact import load_artifact

    console.print_json(load_artifact(prompt).manifest.model_dump_json())


def verify(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    backbone: Annotated[
        str, typer.Option(help="Folder or GGUF file of the backbone, if it was moved.")
    ] = "",
) -> None:
    """Check that a prompt is undamaged and fits the backbone that it names."""
    from clinprompt.backbone.load import check_fits, load_backbone_of
    from clinprompt.prompts.artifact import load_artifact

    manifest = load_artifact(prompt).manifest
    check_fits(load_backbone_of(manifest, backbone, device="cpu"), manifest)
    say(f"{manifest.name}: undamaged, and made for {manifest.backbone}")


def export(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write the PEFT adapter into.")],
    base: Annotated[
        str,
        typer.Option(
            help="Name or path of the model that adapter and README give. By default the name of "
            "the backbone on the hub."
        ),
    ] = "",
    backbone: Annotated[
        str, typer.Option(help="Folder or GGUF file of the backbone, if it was moved.")
    ] = "",
) -> None:
    """Write a prompt as an adapter for PEFT, with a README that shows how to use it."""
    from clinprompt.jobs.export import export_prompt

    export_prompt(prompt, folder, base=base, backbone=backbone)
    say(f"PEFT adapter: {folder}")
    say(f"How to use it: {folder / 'README.md'}")
