"""Commands about saved prompts: list, inspect, check, export."""

from pathlib import Path
from typing import Annotated

import typer

from clinprompt.cli.screen import Json, console, show_rows


def list_(
    store: Annotated[Path, typer.Argument(help="Store folder, for instance runs/practice/store.")],
    as_json: Json = False,
) -> None:
    """List the prompts of a store."""
    from clinprompt.prompts.store import Store

    kept = Store(store)
    manifests = {name: kept.load(name).manifest for name in kept.names()}
    rows = [
        {"name": name, "kind": m.kind, "method": m.method, "length": m.length, "scores": m.scores}
        for name, m in manifests.items()
    ]
    show_rows(rows, as_json=as_json)


def show(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
) -> None:
    """Print a prompt's manifest as JSON."""
    from clinprompt.prompts.artifact import load_artifact

    console.print_json(load_artifact(prompt).manifest.model_dump_json())


def verify(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    backbone: Annotated[str, typer.Option(help="Where the backbone is.")] = "",
) -> None:
    """Check that a prompt is whole and belongs to the backbone that it names."""
    from clinprompt.prompts.artifact import load_artifact

    manifest = load_artifact(prompt).manifest
    from clinprompt.backbone.load import check_fits, load_backbone_of

    check_fits(load_backbone_of(manifest, backbone, device="cpu"), manifest)
    console.print(f"{manifest.name}: whole, and made for {manifest.backbone}")


def export(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write the PEFT adapter to.")],
    base: Annotated[str, typer.Option(help="Model name or path for PEFT to record.")] = "",
) -> None:
    """Write a task's prompt as an adapter that PEFT loads (prompt or prefix tuning)."""
    from clinprompt.prompts.peft_export import export_peft
    from clinprompt.prompts.store import open_prompt

    artifact, vectors = open_prompt(prompt)
    export_peft(folder, artifact.manifest, vectors, base=base or artifact.manifest.backbone)
    console.print(f"PEFT adapter: {folder}", markup=False, soft_wrap=True)
