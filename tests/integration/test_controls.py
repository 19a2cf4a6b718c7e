"""Controls that learn from the source tasks without this project's method, and SPoT's teachers."""

import json

import pytest
import torch
from safetensors.torch import load_file
from small_comparison import FIT, artifacts, config_of, fill, without_times
from tiny import KillAfter, Killed

from clinprompt.errors import ArtifactError, SettingError
from clinprompt.files import Claims
from clinprompt.jobs.comparison.budget import Budget
from clinprompt.jobs.comparison.learned import Learned
from clinprompt.jobs.comparison.variants import Runs
from clinprompt.methods.resolve import resolve_all
from clinprompt.prompts.artifact import load_artifact
from clinprompt.runs.suite_data import load_suite
from clinprompt.tasks.card import find_card
from clinprompt.training.progress import Silent
from clinprompt.training.runlog import RunLog

CONTROLS = ("multitask-prompt", "lora-multitask")
STEPS = 5  # of the distillation in these settings


def grid_of(folder, model, methods=CONTROLS, **sections):
    """Return settings of four cells of each method: two targets, two seeds."""
    grid = {"methods": methods, "shots": [2], "seeds": [0, 1], **sections.pop("compare", {})}
    return config_of(folder, model, compare=grid, **sections)


def learned(folder, name):
    """Return what a run has learned from all sources for a method."""
    return load_file(folder / "store" / "sources" / f"{name}.safetensors")


def steps_of(folder, phase):
    return [row["step"] for row in RunLog(folder / "metrics.jsonl").rows() if row["phase"] == phase]


@pytest.fixture(scope="module")
def filled(tmp_path_factory, tiny_llama_folder):
    """Fill a grid of both controls once."""
    base = tmp_path_factory.mktemp("controls")
    config = grid_of(base, tiny_llama_folder)
    return base / "run", config, fill(base / "run", config).cells


def test_a_control_trains_on_the_sources_once_for_all_its_cells(filled):
    folder, _, cells = filled
    assert [cell.method for cell in cells].count("multitask-prompt") == 4
    assert [cell.method for cell in cells].count("lora-multitask") == 4
    for name in CONTROLS:
        assert steps_of(folder, name) == [1, 2, 3, 4, 5]
    assert list((folder / "checkpoints").iterdir()) == []


def test_no_teacher_and_no_metaprompt_is_trained_for_a_control(filled):
    folder, _, _ = filled
    assert json.loads((folder / "finished.json").read_text()).keys() == {
        f"sources/{name}" for name in CONTROLS
    }
    assert {name.split("/")[0] for name in artifacts(folder)} == {
        "practice-ner-drugs",
        "practice-nli-social",
    }


def test_adaptation_starts_from_the_sources_and_trains_further(filled, tmp_path, tiny_llama_folder):
    """Without steps on the target, its prompt is that of the sources; with steps it is another."""
    folder, _, _ = filled
    [vectors] = learned(folder, "multitask-prompt")["prompt.0"]
    untrained = grid_of(tmp_path, tiny_llama_folder, CONTROLS[:1], adapt={**FIT, "steps": 0})
    fill(tmp_path / "run", untrained)
    for place, is_start in ((tmp_path / "run", True), (folder, False)):
        saved = [load_artifact(path.parent) for path in (place / "store").rglob("manifest.json")]
        assert len(saved) == 4
        for one in saved:
            assert one.manifest.method == "multitask-prompt"
            assert torch.equal(one.tensors["vectors"], vectors) == is_start


def test_multitask_lora_has_left_its_start(filled):
    """LoRA's B starts at zero."""
    folder, _, _ = filled
    tensors = learned(folder, "lora-multitask")
    assert len(tensors) == 2 * 2 * 4  # A and B of four layers in two blocks
    assert all(tensor.abs().max() > 0 for tensor in tensors.values())


@pytest.mark.parametrize("placement", ["prefix", "layers"])
def test_the_multitask_prompt_is_distillation_without_teachers_and_factors(
    tmp_path, tiny_llama_folder, placement
):
    """Without its two weights, the loss of distillation is that of the answers alone.

    The gradients are not clipped: their norm counts the factors, also if these stay as they are.
    """
    alone = {"logits_weight": 0.0, "hidden_weight": 0.0, "factor_rate": 0.0, "start": "vocabulary"}
    config = grid_of(
        tmp_path,
        tiny_llama_folder,
        ("metaprompt", "multitask-prompt"),
        compare={"targets": ["practice-nli-social"], "seeds": [0]},
        prompt={"length": 4, "placement": placement},
        distill={**FIT, "steps": STEPS, **alone, "shared_rate": 0.05, "clip_norm": 1e9},
        baselines={"source_prompt_rate": 0.05},
    )
    fill(tmp_path / "run", config)
    [place] = (tmp_path / "run" / "store" / "metaprompts").iterdir()
    distilled = load_artifact(place).tensors["shared"]
    [vectors] = learned(tmp_path / "run", "multitask-prompt")["prompt.0"]
    torch.testing.assert_close(vectors, distilled, rtol=1e-4, atol=1e-5)


def test_a_control_reads_as_many_rows_as_the_distillation_and_the_same_ones(
    tmp_path, tiny_llama_folder
):
    """The number of tokens of each step tells which rows were drawn."""
    grid = {"targets": ["practice-nli-social"], "seeds": [0]}
    config = grid_of(tmp_path, tiny_llama_folder, ("metaprompt", *CONTROLS), compare=grid)
    fill(tmp_path / "run", config)
    log = RunLog(tmp_path / "run" / "metrics.jsonl").rows()
    tokens = {
        phase: [row["tokens"] for row in log if row["phase"] == phase]
        for phase in ("distill", *CONTROLS)
    }
    assert len(tokens["distill"]) == STEPS
    assert len(set(tokens["distill"])) > 1  # rows of different lengths
    assert tokens["multitask-prompt"] == tokens["lora-multitask"] == tokens["distill"]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(3,), (3, 4)])
@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_that_is_stopped_continues(filled, tmp_path, tiny_llama_folder, name, kills):
    """Training on sources has 5 steps, each cell 3: stopped in the first, or in a cell."""
    folder, _, cells = filled
    config = grid_of(tmp_path, tiny_llama_folder, (name,))
    for steps in kills:
        with pytest.raises(Killed):
            fill(tmp_path / "run", config, KillAfter(steps))
    found = fill(tmp_path / "run", config).cells
    assert without_times(found) == without_times([one for one in cells if one.method == name])
    one, same = learned(tmp_path / "run", name), learned(folder, name)
    assert all(torch.equal(one[key], same[key]) for key in same)
    assert steps_of(tmp_path / "run", name) == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_a_grid_that_goes_on_later_does_not_train_on_the_sources_again(
    filled, tmp_path, tiny_llama_folder
):
    _, _, cells = filled
    config = grid_of(tmp_path, tiny_llama_folder)
    first = config.model_copy(
        update={"compare": config.compare.model_copy(update={"targets": ("practice-ner-drugs",)})}
    )
    fill(tmp_path / "run", first)
    before = {name: learned(tmp_path / "run", name) for name in CONTROLS}
    found = fill(tmp_path / "run", config, budget=Budget()).cells
    assert without_times(found) == without_times(cells)
    for name in CONTROLS:
        assert steps_of(tmp_path / "run", name) == [1, 2, 3, 4, 5]
        after = learned(tmp_path / "run", name)
        assert all(torch.equal(after[key], before[name][key]) for key in after)


def test_multitask_prompts_can_be_trained_in_teams(filled, tmp_path, tiny_llama_folder):
    folder, _, cells = filled
    config = grid_of(tmp_path, tiny_llama_folder, CONTROLS[:1], compare={"together": 4})
    found = fill(tmp_path / "run", config).cells
    assert [cell.value for cell in found] == [
        cell.value for cell in cells if cell.method == CONTROLS[0]
    ]
    assert artifacts(tmp_path / "run").keys() == artifacts(folder).keys()


def test_a_variant_trains_on_the_sources_only_if_it_would_do_so_differently(
    tmp_path, tiny_llama_folder
):
    variants = {
        "slow": {"baselines": {"lora_rate": 0.001}},
        "wide": {"baselines": {"lora_rank": 4}},
    }
    methods = ("lora-multitask@slow", "lora-multitask", "lora-multitask@wide")
    grid = {"targets": ["practice-nli-social"], "seeds": [0]}
    config = grid_of(tmp_path, tiny_llama_folder, methods, variants=variants, compare=grid)
    assert len(fill(tmp_path / "run", config).cells) == 3
    own = tmp_path / "run" / "variants"
    assert steps_of(tmp_path / "run", "lora-multitask") == [1, 2, 3, 4, 5]
    assert steps_of(own / "slow", "lora-multitask") == []
    assert steps_of(own / "wide", "lora-multitask") == [1, 2, 3, 4, 5]
    ranks = {
        place: min(learned(place, "lora-multitask")["lora.0"].shape)
        for place in (tmp_path / "run", own / "wide")
    }
    assert list(ranks.values()) == [2, 4]


def test_what_was_learned_from_the_sources_is_checked_when_it_is_read(tmp_path, tiny_llama_folder):
    config = grid_of(tmp_path, tiny_llama_folder, CONTROLS[1:])
    with pytest.raises(Killed):
        fill(tmp_path / "run", config, KillAfter(6))
    path = tmp_path / "run" / "store" / "sources" / "lora-multitask.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(ArtifactError, match=r"lora-multitask\.safetensors: missing or damaged"):
        fill(tmp_path / "run", config)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_refused_next_to_a_given_metaprompt(tmp_path, tiny_llama_folder, name):
    config = grid_of(tmp_path, tiny_llama_folder, (name,), metaprompt="shipped")
    with pytest.raises(SettingError, match=rf"method {name} is trained on the sources"):
        fill(tmp_path / "run", config)


def test_a_control_is_compared_with_a_metaprompt_that_a_variant_is_given(
    tmp_path, tiny_llama_folder
):
    fill(tmp_path / "first", grid_of(tmp_path, tiny_llama_folder, ("metaprompt",)))
    [saved] = (tmp_path / "first" / "store" / "metaprompts").iterdir()
    config = grid_of(
        tmp_path,
        tiny_llama_folder,
        ("lora-multitask", "metaprompt@given"),
        variants={"given": {"metaprompt": str(saved)}},
        compare={"targets": ["practice-nli-social"], "seeds": [0]},
    )
    found = fill(tmp_path / "run", config).cells
    assert [cell.method for cell in found] == ["metaprompt@given", "lora-multitask"]
    finished = json.loads((tmp_path / "run" / "finished.json").read_text())
    assert finished.keys() == {"sources/lora-multitask"}


@pytest.mark.parametrize("variant", ["", "slow"])
def test_spot_starts_from_the_teachers_of_the_metaprompt(tmp_path, tiny_llama_folder, variant):
    """A metaprompt that was not trained further is the mean of the teachers it was made of."""
    config = grid_of(
        tmp_path,
        tiny_llama_folder,
        ("spot", "spot@slow"),
        distill={**FIT, "steps": 0},
        variants={"slow": {"baselines": {"prompt_rate": 0.001}}},
    )
    suite = load_suite(config.suite, config.data, None)
    claims = Claims(tmp_path / "run" / "claims")
    runs = Runs(
        tmp_path / "run", config.backbone, resolve_all(config), suite, None, claims, Silent()
    )
    metaprompt = Learned(runs).metaprompt(config.backbone, variant)
    start = runs.open(config.backbone, variant).start(
        find_card("practice-nli-social"), (), seed=0, metaprompt=metaprompt
    )
    names = [task["name"] for task in start.metaprompt.manifest.tasks]
    assert names == ["practice-ner-labs", "practice-nli-history"]
    teachers = [start.load_teacher(name).tensors["vectors"] for name in names]
    assert not torch.equal(*teachers)
    torch.testing.assert_close(metaprompt.tensors["shared"], torch.stack(teachers).mean(dim=0))
