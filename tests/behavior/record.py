"""Record what clinprompt computes on tiny models, as one JSON document, and compare two of them.

Run this before and after a change that must not change behavior:

    python tests/behavior/record.py before.json
    python tests/behavior/record.py after.json --against before.json

The second call compares exactly: every cell, every tensor of every saved prompt, every prediction.
Both calls must run on one machine with the same libraries. The test in this folder compares with
``recorded.json`` within tolerances, because another type of CPU rounds differently; ``--portable``
writes that file.

Everything goes through the command line, and only files that a user sees are read. The names of
their fields are listed once, in ``CELL_FIELDS``, ``MANIFEST_FIELDS`` and ``TRIAL_FIELDS``.
"""

import argparse
import contextlib
import hashlib
import io
import json
import math
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

TESTS = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.pop("CLINPROMPT_MIRROR", None)
    sys.path.insert(0, str(TESTS))

import torch  # noqa: E402 - after the environment is set
from safetensors.torch import load_file  # noqa: E402 - after the environment is set
from tiny import byte_tokenizer, save_tiny  # noqa: E402 - after the environment is set
from transformers import LlamaForCausalLM  # noqa: E402 - after the environment is set
from transformers.utils.logging import disable_progress_bar  # noqa: E402 - as above

from clinprompt.backbone import constraint  # noqa: E402 - after the environment is set
from clinprompt.cli import main as clinprompt  # noqa: E402 - after the environment is set

LLAMA, GPT_OSS = "tiny-llama", "tiny-gpt-oss"

# The name in the record, and the name in the file. Durations, speed and memory are left out.
CELL_FIELDS = {
    "metric": "metric",
    "scorer": "scorer",
    "task_type": "task_type",
    "is_ablation": "is_ablation",
    "value": "value",
    "low": "low",
    "high": "high",
    "detectable": "detectable",
    "num_rows": "num_rows",
    "num_examples": "num_examples",
    "steps": "steps",
    "trained_numbers": "trained_numbers",
    "artifact_bytes": "artifact_bytes",
    "unparseable": "unparseable",
    "ungrounded": "ungrounded",
    "truncated": "truncated",
    "extra": "extra",
    "row_digest": "row_digest",
    "statistics": "statistics",
}
CELL_NAME = ("backbone", "target", "method", "shots", "seed")
MANIFEST_FIELDS = {
    "kind": "kind",
    "method": "method",
    "backbone": "backbone",
    "fingerprint": "fingerprint",
    "length": "length",
    "hidden_size": "hidden_size",
    "rank": "rank",
    "segment": "segment",
    "types": "types",
    "placement": "placement",
    "num_layers": "num_layers",
    "num_heads": "num_heads",
    "seed": "seed",
    "shots": "shots",
    "scores": "scores",
}
TRIAL_FIELDS = {"loss": "loss", "training_loss": "training_loss", "steps": "steps"}
TRIAL_NAME = ("method", "settings", "task", "shots", "seed")
METAPROMPTS = "metaprompts"  # the folder in a store whose folders are named by hashes

EXACT_ONLY = {"sha256", "fingerprint"}  # fields of the record that another CPU may change
# Parts of the record that other CPUs give within 3 digits.
APPROXIMATE = {"tensors", "search", "probability"}

SUITE = """
name = "small"
title = "Five made-up sources, three made-up targets"
sources = [
  "practice-ner-labs", "practice-re-dose", "practice-nli-history", "practice-qa-choice",
  "practice-sum-plan",
]
targets = ["practice-ner-drugs", "practice-nli-social", "practice-re-frequency"]
"""
SETTINGS = f"""
name = "tiny"
suite = "small.toml"
backbone = "{LLAMA}"
device = "cpu"

[data]
max_input_tokens = 150
max_target_tokens = 40
train_rows = 6
validation_rows = 2
test_rows = 5

[prompt]
length = 4

[teacher]
steps = 3
rows = 2
warmup_steps = 1
checkpoint_every = 2

[distill]
steps = 5
rows = 2
warmup_steps = 1
checkpoint_every = 2

[adapt]
steps = 3
rows = 2
warmup_steps = 1
checkpoint_every = 2

[baselines]
lora_rank = 2
"""
ALL_METHODS = """
[compare]
methods = [
  "instruction", "in-context", "prompt-tuning", "spot", "peft-mpt", "lora", "full", "metaprompt",
  "adapted-factors", "adapted-metaprompt", "prompt-tuning@layers", "adapted-metaprompt@layers",
  "metaprompt@routed", "adapted-factors@routed",
]
shots = [4, "all"]
seeds = [0, 1]
targets = ["practice-ner-drugs", "practice-nli-social"]

[variants]
layers = { prompt = { placement = "layers" } }
routed = { prompt = { segment = 2 }, adapt = { routing = "all" } }
"""
TOGETHER = """
[compare]
methods = [
  "metaprompt", "prompt-tuning", "spot", "peft-mpt", "adapted-factors", "adapted-metaprompt",
]
shots = ["all"]
together = 3
"""
TWO_BACKBONES = f"""
[compare]
methods = ["metaprompt", "lora", "adapted-factors", "prompt-tuning@layers"]
backbones = ["{LLAMA}", "{GPT_OSS}"]
shots = [4]
targets = ["practice-nli-social"]

[variants]
layers = {{ prompt = {{ placement = "layers" }} }}
"""
GIVEN = """
[compare]
methods = ["metaprompt", "adapted-factors"]
shots = [4]
"""
SEARCH = """
[search]
tasks = ["practice-ner-problems"]
shots = 4
seeds = [0, 1]

[search.trials]
lora = [{ baselines.lora_rate = 0.01 }, { baselines.lora_rate = 0.1 }]
full = [{ baselines.full_rate = 0.001 }, { baselines.full_rate = 0.01 }]
peft-mpt = [{ prompt.rank = 2 }, { baselines.mpt_rate = 0.3 }]
prompt-tuning = [{ adapt.steps = 1 }, { prompt.start = "text" }]
adapted-factors = [{ adapt.factor_rate = 0.01 }, { adapt.factor_rate = 0.1 }]
"""
CONFIGS = {
    "plain": "",
    "all-methods": ALL_METHODS,
    "together": TOGETHER,
    "two-backbones": TWO_BACKBONES,
    "given": GIVEN,
    "search": SEARCH,
}
# What the tiny model answers to any note, so that answers can be parsed and found in a note.
ANSWERS = {
    "Drugs:": " lamotrigine\nbupropion",
    "Tests:": " INR\nsodium",
    "Problems:": " gout",
    "Doses:": " dose: losartan | 5 mg",
    "Frequencies:": " frequency: losartan | TID",
    "Summary:": " Gout: rest.",
}
SHORT = "Takes losartan 5 mg TID and bupropion."
LONG = (
    "Takes losartan 5 mg TID. Reports gout for 3 days. Lives alone with a dog in a small flat. "
    "INR 2.1 today. Lamotrigine was stopped. No fever, no cough, and sleeps well since the last "
    "visit. Losartan TID was changed to losartan weekly. Works as a baker. INR and sodium again "
    "next week, lamotrigine level too. Plan: rest, bupropion, and losartan TID as before."
)
NOTES = (
    {"id": "short", "text": SHORT, "statement": "The patient has a job."},
    {"id": "long", "text": LONG, "statement": "The patient has a job."},
    {"id": "none", "text": "Nothing — à la carte.", "statement": "The patient has a home."},
)
QUESTIONS = tuple(
    {
        "id": name,
        "text": text,
        "question": "Which drug is for gout?",
        "options": ["losartan", "bupropion", "rest", "none of them"],
    }
    for name, text in (("short", SHORT), ("long", LONG))
)


SAVED = (  # the runs whose prompts are evaluated and predict
    "adapt-ner-drugs",
    "adapt-ner-drugs-factors",
    "adapt-nli-social",
    "adapt-nli-social-factors",
    "adapt-re-frequency",
    "adapt-re-frequency-factors",
    "tune-sum-plan",
    "tune-qa-choice",
    "tune-layers",
)


def record(folder: Path) -> dict[str, Any]:
    """Run every command in an empty folder; return what came out."""
    with contextlib.chdir(folder), _signals_kept(), _answers_of_random_models():
        _prepare()
        _train()
        evaluations = dict(_evaluations())
        _predict()
        runs = sorted(path for path in Path("runs").iterdir())
        stores = {run.name: dict(_prompts(run)) for run in runs}
        return {
            "cells": {run.name: _cells(run) for run in runs if (run / "cells.jsonl").is_file()},
            "prompts": {name: prompts for name, prompts in stores.items() if prompts},
            "search": _trials(Path("runs/search/search.jsonl")),
            "evaluations": evaluations,
            "predictions": dict(_predictions()),
        }


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Restore the signal handlers that the command line replaces."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, action in zip(numbers, before, strict=True):
            signal.signal(number, action)


def portable(recording: Any) -> Any:
    """Return a recording without what another type of CPU may change entirely."""
    if isinstance(recording, dict):
        return {key: portable(v) for key, v in recording.items() if key not in EXACT_ONLY}
    return [portable(value) for value in recording] if isinstance(recording, list) else recording


def differences(old: Any, new: Any, *, exact: bool, place: str = "") -> Iterator[str]:
    """Yield one line for each value that differs between two recordings.

    Unless ``exact``, floats may differ by rounding: those in APPROXIMATE by 1e-3, others by 1e-6.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            inner = f"{place}/{key}"
            if key not in new or key not in old:
                yield f"{inner}: {'is missing' if key in old else 'is new'}"
            else:
                yield from differences(old[key], new[key], exact=exact, place=inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, exact=exact, place=f"{place}/{number}")
    elif old != new and (exact or not _is_close(old, new, place)):
        yield f"{place}: {old!r} became {new!r}"


def _is_close(old: object, new: object, place: str) -> bool:
    if not isinstance(old, int | float) or not isinstance(new, int | float):
        return False
    tolerance = 1e-3 if APPROXIMATE & set(place.split("/")) else 1e-6
    return math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance)


def as_text(recording: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a recording as JSON with one entry a line."""
    sections = []
    for name, entries in recording.items():
        lines = ",\n".join(f"  {json.dumps(key)}: {_entry(v)}" for key, v in entries.items())
        sections.append(f" {json.dumps(name)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


def _entry(value: Any) -> str:
    if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
        lines = ",\n".join(f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
        return "{\n" + lines + "\n  }"
    return json.dumps(value)


def _run(*words: str | Path) -> str:
    """Run one clinprompt command in this process; return what it prints."""
    arguments, printed, code = ["clinprompt", *map(str, words)], io.StringIO(), None
    with mock.patch.object(sys, "argv", arguments), contextlib.redirect_stdout(printed):
        try:
            clinprompt()
        except SystemExit as end:
            code = end.code
    assert not code, f"{arguments} ended with {code}: {printed.getvalue()}"
    return printed.getvalue()


def _answers_of_random_models() -> contextlib.AbstractContextManager[object]:
    """Let answers go on although a random model has little probability on allowed tokens."""
    return mock.patch.object(constraint, "MIN_SHARE", 0.0)


def _prepare() -> None:
    """Make the models, the suite, the settings and the notes."""
    save_tiny(Path(LLAMA), "llama", initializer_range=0.1)
    save_tiny(Path(GPT_OSS), "gpt-oss")
    _teach_answers(Path(LLAMA))
    Path("small.toml").write_text(SUITE)
    for name, more in CONFIGS.items():
        Path(f"{name}.toml").write_text(SETTINGS + more)
    for name, notes in {"notes": NOTES, "questions": QUESTIONS}.items():
        Path(f"{name}.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes))


def _teach_answers(folder: Path, steps: int = 140) -> None:
    """Train a tiny model to give the answers above, whatever note comes before the question.

    In float64, so that every CPU gives the same float32 weights, or nearly so.
    """
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    tokenizer, draw, words = byte_tokenizer(), random.Random(0), LONG.split()
    for _ in range(steps):
        ids, labels = [], []
        length = draw.randrange(60, 110)
        for question, answer in ANSWERS.items():
            note = " ".join(draw.choices(words, k=30))
            target = [*tokenizer(answer)["input_ids"], tokenizer.eos_token_id]
            source = tokenizer(f"{note}\n{question}")["input_ids"][len(target) - length :]
            ids.append(source + target)
            labels.append([-100] * len(source) + target)
        loss = model(input_ids=torch.tensor(ids), labels=torch.tensor(labels)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.to(torch.float32).save_pretrained(folder)


def _train() -> None:
    """Run the commands that train."""
    _run("distill", "plain.toml", "--out", "runs/distill")
    metaprompt = _metaprompt("distill")
    for task in ("practice-ner-drugs", "practice-nli-social", "practice-re-frequency"):
        words = ("adapt", task, "--metaprompt", metaprompt, "--shots", "4")
        name = task.removeprefix("practice-")
        _run(*words, "--config", "plain.toml", "--out", f"runs/adapt-{name}")
        _run(*words, "--factors-only", "--out", f"runs/adapt-{name}-factors")
    for task in ("practice-sum-plan", "practice-qa-choice"):
        name = task.removeprefix("practice-")
        _run("tune", task, "--config", "plain.toml", "--out", f"runs/tune-{name}")
    layers = ("--set", "prompt.placement=layers")
    _run(
        "tune", "practice-ner-labs", "--config", "plain.toml", *layers, "--out", "runs/tune-layers"
    )
    for name in ("all-methods", "together", "two-backbones"):
        _run("compare", f"{name}.toml", "--out", f"runs/{name}")
    given = f"metaprompt={metaprompt}"
    _run("compare", "given.toml", "--set", given, "--out", "runs/given-metaprompt")
    _run("search", "search.toml", "--out", "runs/search")


def _metaprompt(run: str) -> Path:
    [found] = (Path("runs") / run / "store" / METAPROMPTS).iterdir()
    return found


def _saved(run: str) -> Path:
    """Return the folder of the only prompt of a run that is not a metaprompt."""
    store = Path("runs") / run / "store"
    found = (path.parent for path in store.rglob("prompt.safetensors"))
    [one] = (path for path in found if path.parent.name != METAPROMPTS)
    return one


def _evaluations() -> Iterator[tuple[str, dict[str, Any]]]:
    """Score saved prompts: on their own task, on another task, on another backbone."""
    on_cpu = ("--device", "cpu", "--rows", "5", "--json", "--backbone")
    for name in SAVED:
        yield name, _cell(json.loads(_run("evaluate", _saved(name), *on_cpu, LLAMA)))
    saved = _saved("adapt-ner-drugs")
    other = ("--task", "practice-ner-problems", "--allow-other-task")
    yield "another task", _cell(json.loads(_run("evaluate", saved, *on_cpu, LLAMA, *other)))
    foreign = (*on_cpu, GPT_OSS, "--allow-backbone")
    yield "another backbone", _cell(json.loads(_run("evaluate", saved, *foreign)))


def _predict() -> None:
    """Annotate notes with saved prompts, as JSON Lines and for brat."""
    Path("predicted").mkdir()
    on_cpu = ("--device", "cpu", "--backbone", LLAMA)
    for name in SAVED:
        notes = "questions.jsonl" if "choice" in name else "notes.jsonl"
        _run("predict", _saved(name), notes, f"predicted/{name}.jsonl", *on_cpu)
    for name in ("adapt-ner-drugs", "adapt-re-frequency"):
        out = f"predicted/{name}-brat"
        _run("predict", _saved(name), "notes.jsonl", out, "--format", "brat", *on_cpu)


def _predictions() -> Iterator[tuple[str, list[Any]]]:
    """Yield each predicted file with its lines; those of JSON are read."""
    for path in sorted(path for path in Path("predicted").rglob("*") if path.is_file()):
        lines = path.read_text(encoding="utf-8").splitlines()
        is_json = path.suffix == ".jsonl"
        name = path.relative_to("predicted").as_posix()
        yield name, [json.loads(line) for line in lines] if is_json else lines


def _picked(values: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    return {name: values[key] for name, key in fields.items() if key in values}


def _name(values: Mapping[str, Any], keys: Sequence[str]) -> str:
    return " ".join(str(values[key]) for key in keys)


def _cell(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"cell": _name(values, CELL_NAME), **_picked(values, CELL_FIELDS)}


def _cells(run: Path) -> dict[str, Any]:
    """Return the cells of a comparison by name."""
    lines = (run / "cells.jsonl").read_text(encoding="utf-8").splitlines()
    cells = [json.loads(line) for line in lines]
    return {_name(one, CELL_NAME): _picked(one, CELL_FIELDS) for one in cells}


def _trials(path: Path) -> dict[str, Any]:
    """Return the trials of a search by name."""
    trials = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {_name(one, TRIAL_NAME): _picked(one, TRIAL_FIELDS) for one in trials}


def _prompts(run: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the saved prompts of a run; metaprompts are numbered, as hashes name their folders."""
    files = sorted(run.rglob("prompt.safetensors"))
    hashed = [path.parent for path in files if path.parent.parent.name == METAPROMPTS]
    for path in files:
        name = path.parent.relative_to(run).as_posix()
        if path.parent in hashed:
            siblings = [one for one in hashed if one.parent == path.parent.parent]
            name = f"{path.parent.parent.relative_to(run).as_posix()}/{siblings.index(path.parent)}"
        manifest = json.loads((path.parent / "manifest.json").read_text(encoding="utf-8"))
        tensors = {key: _tensor(value) for key, value in sorted(load_file(path).items())}
        tasks = [task["name"] for task in manifest["tasks"]]
        yield name, {**_picked(manifest, MANIFEST_FIELDS), "tasks": tasks, "tensors": tensors}


def _tensor(tensor: torch.Tensor) -> dict[str, Any]:
    values = tensor.double()
    return {
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype),
        "sha256": hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest(),
        "norm": float(values.norm()),
        "mean": float(values.mean()),
        "first": values.flatten()[:3].tolist(),
    }


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--against", type=Path, help="earlier file of this machine to compare with")
    parser.add_argument("--portable", action="store_true", help="leave out hashes")
    given = parser.parse_args()
    torch.set_num_threads(1)
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CLINPROMPT_CACHE"] = str(Path(folder) / "cache")
        work = Path(folder) / "work"
        work.mkdir()
        recording = record(work)
    given.out.write_text(as_text(portable(recording) if given.portable else recording))
    if given.against:
        old = json.loads(given.against.read_text())
        found = list(differences(old, json.loads(as_text(recording)), exact=True))
        sys.stdout.write("".join(f"{line}\n" for line in found or ["no difference"]))
        sys.exit(1 if found else 0)


if __name__ == "__main__":
    _main()
