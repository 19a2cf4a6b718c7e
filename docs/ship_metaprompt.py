"""Put a run's metaprompt into the package, with a card of its sources and their licenses.

CONFIG is what it was learned by, and what it is adapted with by default (``adapt``).

Run: python docs/ship_metaprompt.py RUN/store/metaprompts/ID CONFIG
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clinprompt.prompts.artifact import Manifest, load_artifact, make_artifact, save_artifact
from clinprompt.settings.run import load_config
from clinprompt.tasks.suite import find_suite

SHIPPED = Path(__file__).parents[1] / "src" / "clinprompt" / "prompts" / "shipped"
MEASURED = Path(__file__).parent / "results" / "four-targets" / "config.json"
SUITE = "shippable"
LEARNED_BY = ("suite", "backbone", "dtype", "seed", "data", "prompt", "teacher", "distill")


def main() -> None:
    """Store it in half precision, under its backbone's name; write its card."""
    source, path = map(Path, sys.argv[1:])
    found, config = load_artifact(source), load_config(path)
    unfree = [
        task["name"]
        for task in found.manifest.tasks
        if task["source"].get("license_allows", "any") != "any"
    ]
    if found.manifest.kind != "metaprompt" or unfree:
        sys.exit(f"not shipped: no metaprompt, or made of sources not free for any use: {unfree}")
    halves = {name: tensor.to(torch.float16) for name, tensor in found.tensors.items()}
    stated, settings = config.model_dump(mode="json"), found.manifest.settings
    if other := [name for name in LEARNED_BY if stated[name] != settings[name]]:
        sys.exit(f"not shipped: {path} was not what it was learned by ({', '.join(other)} differ)")
    settings = settings | {name: stated[name] for name in ("name", "adapt")}
    artifact = make_artifact(found.manifest.model_copy(update={"settings": settings}), halves)
    folder = SHIPPED / artifact.manifest.backbone
    save_artifact(folder, artifact)
    (folder / "README.md").write_text(card_text(artifact.manifest), encoding="utf-8")


def card_text(manifest: Manifest) -> str:
    """Return the card: what it is, what it was made of, what it is not for."""
    suite = find_suite(SUITE)
    rows = [
        f"| {task['name']} | {task['type']} | {task['source']['license']} "
        f"| {task['source']['repository']} |"
        for task in manifest.tasks
    ]
    settings, measured = manifest.settings, json.loads(MEASURED.read_text())["data"]
    where = {
        "layers": "placement `layers`: keys and values of every layer",
        "prefix": "placement `prefix`: vectors before the input",
    }
    return "\n".join(
        [
            f"# A metaprompt for {manifest.backbone}",
            "",
            f"{manifest.length} prompt positions ({where[manifest.placement]}), "
            f"rank {manifest.rank}, distilled from {len(manifest.tasks)} teachers with clinprompt "
            f"{manifest.code_version}; in float16. `manifest.json` holds every setting and the "
            "cards of all sources.",
            "",
            f"Each teacher saw {settings['teacher']['steps']} steps of "
            f"{settings['teacher']['rows']} rows, the distillation {settings['distill']['steps']} "
            f"of {settings['distill']['rows']}, in {settings['dtype']}, with seed "
            f"{manifest.seed}: {_read(settings['data'])}.",
            "",
            "It is a start for `clinprompt adapt`: research software under the Apache-2.0 license, "
            "whose answers are not medical advice. How well it does on tasks that it has not seen, "
            "beside LoRA and others, is in the repository's docs/results/four-targets: "
            f"{_read(measured)}.",
            "",
            "## Limits",
            "",
            "All sources are public English texts: abstracts, exam questions, dialogs and texts "
            "from the web, none of them a hospital's own notes. It holds trained parameters "
            "and no record; the parameters may contain traces of what they were trained on.",
            "",
            "## Sources",
            "",
            "Each has a license that allows commercial use, stated by its repository or, where "
            "the card says so, by BigBIO's collection (`clinprompt tasks show NAME`); those that "
            "ask for attribution are attributed here.",
            "",
            "| task | type | license | source |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "Rows that share text with a target were left out beforehand; targets: "
            f"{', '.join(suite.targets)}.",
            "",
            *(f"- {lack}" for lack in suite.missing),
            "",
        ]
    )


def _read(data: Mapping[str, Any]) -> str:
    how = {"cut": "cut to", "split": "read in parts of at most"}[data["long_inputs"]]
    return (
        f"inputs {how} {data['max_input_tokens']} tokens, answers of at most "
        f"{data['max_target_tokens']}"
    )


if __name__ == "__main__":
    main()
