"""Settings of a comparison so small that it takes seconds: a tiny model, made-up notes."""

from clinprompt.jobs.comparison.compare import compare
from clinprompt.settings.run import check_config
from clinprompt.training.progress import Silent

METHODS = (
    "instruction",
    "metaprompt",
    "prompt-tuning",
    "lora",
    "adapted-metaprompt",
    "adapted-factors",
)
COMMAND = "clinprompt compare tiny.toml"
MEASURED_TIMES = {"train_seconds", "evaluate_seconds", "tokens_per_second", "peak_bytes"}
FIT = {"steps": 3, "rows": 2, "warmup_steps": 1, "checkpoint_every": 2}
SUITE = """
name = "small"
title = "Two made-up sources, two made-up targets"
sources = ["practice-ner-labs", "practice-nli-history"]
targets = ["practice-ner-drugs", "practice-nli-social"]
missing = ["no note is real"]
"""


def config_of(folder, model, **sections):
    """Return settings of four made-up tasks and the tiny model, whose tokens are bytes."""
    suite = folder / "small.toml"
    suite.write_text(SUITE)
    values = {
        "name": "tiny",
        "suite": str(suite),
        "backbone": str(model),
        "device": "cpu",
        "data": {
            "max_input_tokens": 400,
            "max_target_tokens": 6,
            "train_rows": 6,
            "validation_rows": 2,
            "test_rows": 3,
        },
        "prompt": {"length": 4},
        "teacher": FIT,
        "distill": {**FIT, "steps": 5},
        "adapt": FIT,
        "baselines": {"lora_rank": 2},
        "compare": {"methods": METHODS, "shots": [2]},
    }
    return check_config({**values, **sections}, source="test")


def fill(folder, config, reporter=None, budget=None, command=None):
    """Compute the missing cells of a comparison; with a command, write the report too."""
    return compare(
        folder,
        config,
        mirror=None,
        command=command,
        reporter=reporter or Silent(),
        budget=budget,
    )


def without_times(cells):
    """Return the values of cells without what the machine's speed and memory decide."""
    return [cell.model_dump(exclude=MEASURED_TIMES) for cell in cells]


def artifacts(folder):
    """Return every stored tensor file by its path in the store."""
    store = folder / "store"
    files = store.rglob("prompt.safetensors")
    return {str(path.relative_to(store)): path.read_bytes() for path in files}
