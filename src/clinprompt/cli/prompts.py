"""Commands for saved prompts: list, show, verify, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinprompt.cli.screen import Json, console, print_json, print_table, say

if TYPE_CHECKING:
    from clinprompt.prompts.artifact import Manifest


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
    if as_json:
        print_json([_summary(name, manifest) for name, manifest in manifests.items()])
        return
    prompts = {name: one for name, one in manifests.items() if one.kind != "metaprompt"}
    if prompts:
        rows = [_row(name, manifest) for name, manifest in prompts.items()]
        print_table(["name", "method", "examples", "score"], rows)
    for name, manifest in manifests.items():
        if manifest.kind == "metaprompt":
            say(f"metaprompt: {store / name}")
    if not manifests:
        say(f"{store}: no saved prompts")


def _summary(name: str, manifest: "Manifest") -> dict[str, object]:
    kept = manifest.model_dump(include={"kind", "method", "shots", "length", "scores"})
    return {"name": name, **kept}


def _row(name: str, manifest: "Manifest") -> list[str]:
    """Return a prompt's line: where to find it, how it was trained, and its score if it has one."""
    from clinprompt.methods.table import ZERO_SHOT

    scores = dict(manifest.scores)
    low, high = (scores.pop(end, None) for end in ("low", "high"))
    shown = [f"{metric} {value:.3f}" for metric, value in scores.items()]
    if low is not None and high is not None:
        shown.append(f"[{low:.3f}, {high:.3f}]")
    num_examples = "0" if manifest.method == ZERO_SHOT else str(manifest.shots or "all")
    return [name, manifest.method, num_examples, " ".join(shown)]


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
    say(f"{prompt}: undamaged, and made for {manifest.backbone}")


def export(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write the PEFT adapter into.")],
    base: Annotated[
        str,
        typer.Option(
            help="Name of the model that adapter and README give, for machines without its folder. "
            "By default the name of the backbone on the hub."
        ),
    ] = "",
    backbone: Annotated[
        str, typer.Option(help="Folder or GGUF file of the backbone, if it was moved.")
    ] = "",
) -> None:
    """Write a prompt as an adapter for PEFT, with a README that shows how to use it."""
    from clinprompt.jobs.export import export_prompt

    weights = export_prompt(prompt, folder, base=base, backbone=backbone)
    say(f"PEFT adapter: {folder}")
    say(f"How to use it: {folder / 'README.md'}")
    say(f"Folder of its model, LOCAL in the README: {weights}")
