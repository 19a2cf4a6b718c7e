"""Where a new task starts from: the factors of all sources, of its type, or the nearest start."""

import pytest
import torch
from opened_run import manifest_in, open_run
from tiny import random_prompts, random_rows

from clinprompt.backbone.tuners import PromptTuner
from clinprompt.errors import SettingError
from clinprompt.methods.method import Start
from clinprompt.methods.routing import starting_prompt
from clinprompt.prompts.artifact import make_artifact
from clinprompt.settings.run import check_config
from clinprompt.tasks.card import find_card
from clinprompt.training.fit import mean_loss

SOURCES = ("practice-ner-labs", "practice-ner-problems", "practice-nli-history")
LENGTH = 4


@pytest.fixture
def start(tmp_path, tiny_llama_folder):
    """Return a function that gives a task's starting prompt, and the factors it starts from."""
    draw = torch.Generator().manual_seed(1)
    u = 1 + torch.randn(3, LENGTH, 1, generator=draw)
    v = 1 + torch.randn(3, 1, 32, generator=draw)
    shared = random_prompts(1, LENGTH)[0]

    def start(task, routing, examples=(), sources=SOURCES):
        settings = {"name": "x", "backbone": str(tiny_llama_folder), "device": "cpu"}
        settings |= {"prompt": {"length": LENGTH}, "adapt": {"routing": routing}}
        folder = tmp_path / f"run-{routing}"
        run = open_run(folder, check_config(settings, source="x"))
        cards = [find_card(name) for name in sources]
        tensors = {"shared": shared, "u": u[: len(cards)], "v": v[: len(cards)]}
        metaprompt = make_artifact(manifest_in(run, "metaprompt", cards), tensors)
        given = Start(run.config, run.backbone, find_card(task), examples)
        prompts = starting_prompt(given, metaprompt)
        return prompts, lambda tuner: mean_loss(run.backbone, PromptTuner(tuner), examples)

    start.u, start.v = u, v
    return start


@pytest.mark.parametrize(
    ("task", "routing", "chosen"),
    [
        ("practice-ner-drugs", "all", [0, 1, 2]),
        ("practice-ner-drugs", "type", [0, 1]),
        ("practice-nli-social", "type", [2]),
        ("practice-nli-social", "nearest", [2]),
        ("practice-sum-plan", "nearest", [0, 1, 2]),
    ],
)
def test_a_start_is_the_mean_of_the_factors_it_is_routed_to(start, task, routing, chosen):
    prompts, _ = start(task, routing)
    torch.testing.assert_close(prompts.u[0], start.u[chosen].mean(dim=0))
    torch.testing.assert_close(prompts.v[0], start.v[chosen].mean(dim=0))


@pytest.mark.parametrize("seed", range(4))
def test_nearest_is_at_least_as_good_as_the_averages_and_every_source(start, seed):
    examples = random_rows([(12, 3), (9, 2), (15, 4)], seed=seed)
    nearest, loss = start("practice-ner-drugs", "nearest", examples)
    others = [start("practice-ner-drugs", routing)[0] for routing in ("all", "type")]
    for k in range(3):
        single, _ = start("practice-ner-drugs", "all")
        single.u.data, single.v.data = start.u[[k]], start.v[[k]]
        others.append(single)
    assert loss(nearest) == min(loss(other) for other in others)


def test_a_type_without_a_source_is_refused(start):
    with pytest.raises(SettingError, match="has the type of practice-nli-social"):
        start("practice-nli-social", "type", sources=SOURCES[:2])
