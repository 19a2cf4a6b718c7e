"""Commands for saved prompts: list, show, verify, export."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from clinprompt.cli.screen import Json, complaints, console, print_json, print_table, say
from clinprompt.errors import ArtifactError

if TYPE_CHECKING:
    from clinprompt.jobs.verify import Verified
    from clinprompt.prompts.artifact import Manifest

_SHOWN = (
    *("kind", "method", "hash", "metaprompt", "examples", "seed"),
    *("backbone", "fingerprint", "code_version"),
)


def list_(
    store: Annotated[
        Path, typer.Argument(help="Folder of a store, for example runs/practice/store.")
    ],
    as_json: Json = False,
) -> None:
    """List the prompts of a store."""
    from clinprompt.prompts.store import Store

    if not store.is_dir():
        raise ArtifactError(f"{store}: no such folder; name a store, such as runs/practice/store")
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
    as_json: Json = False,
) -> None:
    """Check the hashes of a prompt and its metaprompt, and that it fits its backbone.

    Shows where both come from. Names each damaged or changed file, and then exits with status 1.
    """
    from dataclasses import asdict

    from clinprompt.jobs.verify import verify_prompt

    found = verify_prompt(prompt, backbone=backbone)
    if as_json:
        print_json(asdict(found))
    else:
        _print_provenance(found)
        for remark in found.remarks:
            say(remark)
        if found.prompt and not found.problems:
            say(f"{prompt}: undamaged, and made for {found.prompt['backbone']}")
    for problem in found.problems:
        complaints.print(f"[red]error:[/red] {escape(problem)}", highlight=False, soft_wrap=True)
    if found.problems:
        raise typer.Exit(1)


def _print_provenance(found: "Verified") -> None:
    """Print where a prompt and its metaprompt come from."""
    for what, values in (("prompt", found.prompt), ("metaprompt", found.metaprompt)):
        if values is None:
            continue
        rows = [[name, str(values[name])] for name in _SHOWN if values[name] not in ("", None)]
        print_table([what, str(values["name"])], rows)
        print_table(
            ["data", "license", "use", "from"],
            [
                [one["task"], one["license"], one["license_allows"], _place(one)]
                for one in values["data"]
            ],
        )
        changed = [f"{name} = {value}" for name, value in values["changed_settings"].items()]
        if changed:
            say("settings that are not the defaults:")
            for line in changed:
                say(f"  {line}")


def _place(data: Mapping[str, str]) -> str:
    commit = data["commit"]
    return f"{data['repository']} {commit[:12]}" if commit.isalnum() else data["repository"]


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
