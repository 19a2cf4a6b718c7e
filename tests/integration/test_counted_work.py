"""The work that a plan counts is the work that a run does: positions and passes of the model."""

import json
from collections import Counter

import pytest
import torch
from small_comparison import fill
from transformers import LlamaModel

from clinprompt.jobs.planning.plan import dry_run
from clinprompt.methods.check_methods import check_methods
from clinprompt.settings.run import check_config

CARD = """
name = "{name}"
type = "{type}"
answer = "{answer}"
title = "Rows of one length"
metric = "{metric}"
source = {{ repository = "here", license = "none stated", license_allows = "unstated" }}
reader = {{ name = "jsonl", row = {{ fields = {{ text = "text" }}, {column} = "answer" }} }}
files = {{ train = ["train.jsonl"], validation = ["validation.jsonl"], test = ["test.jsonl"] }}
{labels}
[wording]
version = 1
template = "{{{{ text }}}}\\nAnswer:"
instruction = "Say it."
"""
SPLITS = {"train": 70, "validation": 3, "test": 5}
DRAFTS = {
    "text": {
        "type": "summarization",
        "metric": "rouge_l",
        "column": "text",
        "labels": "",
        "answers": ["abcde", "fghij"],
    },
    "label": {
        "type": "nli",
        "metric": "accuracy",
        "column": "label",
        "labels": 'labels = { y = "yes", n = "nay" }',
        "answers": ["y", "n"],
    },
}


class Counted:
    """Counts the positions of a Llama's passes: trained, read, and decoded one by one."""

    def __init__(self, monkeypatch):
        self.positions, self.passes = Counter(), Counter()
        forward = LlamaModel.forward

        def counted(model, *args, inputs_embeds, **options):
            rows, length = inputs_embeds.shape[:2]
            kind = "trained" if torch.is_grad_enabled() else "read"
            if not torch.is_grad_enabled() and options.get("past_key_values") and length == 1:
                kind = "decoded"
            self.positions[kind] += rows * length
            self.passes[kind] += 1
            return forward(model, *args, inputs_embeds=inputs_embeds, **options)

        monkeypatch.setattr(LlamaModel, "forward", counted)


def task_of(folder, answer):
    """Write a task whose inputs have one length, and whose answers have one length."""
    draft, place = DRAFTS[answer], folder / answer
    place.mkdir()
    card = {key: value for key, value in draft.items() if key != "answers"}
    (place / "card.toml").write_text(CARD.format(name=f"own-{answer}", answer=answer, **card))
    for split, count in SPLITS.items():
        answers = draft["answers"]
        lines = [
            json.dumps({"text": f"{split[:2]} {number:04}", "answer": answers[number % 2]})
            for number in range(count)
        ]
        (place / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return place


def config_of(folder, model, answer, **sections):
    """Return the settings of a comparison on one task; an answer ends at its limit."""
    suite = folder / "suite.toml"
    suite.write_text(f'name = "one"\ntitle = "One"\ntargets = ["{task_of(folder, answer)}"]\n')
    values = {
        "name": "counted",
        "suite": str(suite),
        "backbone": str(model),
        "device": "cpu",
        "data": {"max_input_tokens": 400, "max_target_tokens": 6, "validation_rows": 2},
        "prompt": {"length": 4},
        "adapt": {"steps": 3, "rows": 2},
        **sections,
    }
    return check_methods(check_config(values, source="test"))


def planned(config):
    """Return the work of all phases but the loading of data."""
    [backbone] = dry_run(config, None, rate=1e12).backbones
    return [phase.work for phase in backbone.costs.phases if phase.name != "start and data"]


@pytest.mark.parametrize(("placement", "starts"), [("prefix", 0), ("layers", 2 * 4)])
def test_decoded_answers_take_the_planned_passes(
    tmp_path, tiny_llama_folder, monkeypatch, placement, starts
):
    """A plan leaves out the pass that makes keys and values of the start of a prompt (P = 4)."""
    config = config_of(
        tmp_path,
        tiny_llama_folder,
        "text",
        prompt={"length": 4, "placement": placement},
        compare={"methods": ["prompt-tuning"], "shots": [2, 8]},
    )
    [work], counted = planned(config), Counted(monkeypatch)
    fill(tmp_path / "run", config)
    assert counted.passes["decoded"] == work.decoding_steps
    assert counted.positions["decoded"] == work.decoded
    assert counted.positions.total() == work.tokens + starts


@pytest.mark.parametrize("method", ["instruction", "lora", "full"])
def test_every_method_computes_the_planned_positions(
    tmp_path, tiny_llama_folder, monkeypatch, method
):
    config = config_of(
        tmp_path,
        tiny_llama_folder,
        "text",
        data={"max_input_tokens": 400, "max_target_tokens": 6, "input_form": 2},
        compare={"methods": [method], "shots": [2], "seeds": [0, 1]},
    )
    [work], counted = planned(config), Counted(monkeypatch)
    fill(tmp_path / "run", config)
    assert counted.positions.total() == work.tokens


def test_validation_and_calibration_of_labels_are_planned(tmp_path, tiny_llama_folder, monkeypatch):
    """50 steps validate 5 times on 2 rows; 64 inputs and 2 validation rows calibrate once."""
    config = config_of(
        tmp_path,
        tiny_llama_folder,
        "label",
        adapt={"steps": 50, "rows": 2, "validate_every": 10},
        prompt={"length": 4, "placement": "layers"},
        compare={"methods": ["prompt-tuning"], "shots": ["all"]},
    )
    [work], counted = planned(config), Counted(monkeypatch)
    fill(tmp_path / "run", config)
    assert counted.positions["decoded"] == 0
    assert counted.positions.total() == pytest.approx(work.tokens + 4, abs=1e-6)
