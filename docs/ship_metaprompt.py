"""Put a run's metaprompt into the package, with a card of its sources and their licences.

What it is adapted with by default is ``adapt`` of the config, or of the variant that is named.

Run: python docs/ship_metaprompt.py RUN/store/metaprompts/ID CONFIG [VARIANT]
"""

import sys
from pathlib import Path

import torch

from clinprompt.config import load_config
from clinprompt.prompts.artifact import Manifest, load_artifact, make_artifact, save_artifact
from clinprompt.tasks.suite import find_suite

SHIPPED = Path(__file__).parents[1] / "src" / "clinprompt" / "prompts" / "shipped"
SUITE = "shippable"


def main() -> None:
    """Store it in half precision, under its backbone's name; write its card."""
    source, config, *variant = sys.argv[1:]
    found = load_artifact(Path(source))
    own = load_config(Path(config)).varied("".join(variant)).adapt.model_dump(mode="json")
    unfree = [
        task["name"]
        for task in found.manifest.tasks
        if task["source"].get("license_allows", "any") != "any"
    ]
    if found.manifest.kind != "metaprompt" or unfree:
        sys.exit(f"not shipped: no metaprompt, or made of sources not free for any use: {unfree}")
    halves = {name: tensor.to(torch.float16) for name, tensor in found.tensors.items()}
    settings = found.manifest.settings | {"adapt": own}
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
    settings = manifest.settings
    where = {
        "layers": "keys and values of every layer",
        "prefix": "positions in front of the input",
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
            f"{manifest.seed}; inputs were cut to {settings['data']['max_input_tokens']} tokens, "
            f"and answers have at most {settings['data']['max_target_tokens']}.",
            "",
            "It is a start for `clinprompt adapt`: research software under the Apache-2.0 licence, "
            "whose answers are not medical advice. How well it does on tasks that it has not seen, "
            "beside LoRA and others, is in the repository's docs/results/open21.",
            "",
            "## Limits",
            "",
            "All sources are public English texts: abstracts, exam questions, dialogs and texts "
            "from the web, none of them a hospital's own notes. It holds trained numbers and no "
            "record, but trained numbers may hold traces of what they learned from. It was "
            "measured on inputs and answers of the lengths above.",
            "",
            "## Sources",
            "",
            "Each has a licence that allows commercial use, stated by its repository or, where "
            "the card says so, by BigBIO's collection (`clinprompt tasks show NAME`); those that "
            "ask for attribution are attributed here.",
            "",
            "| task | type | licence | source |",
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


if __name__ == "__main__":
    main()
