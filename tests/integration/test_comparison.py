"""A comparison on a tiny model: every method, variants, budgets, several processes."""

import json
import multiprocessing
import shutil
from collections import Counter

import pytest
import torch
from opened_run import open_run
from safetensors.torch import load_file
from small_comparison import (
    COMMAND,
    FIT,
    MEASURED_TIMES,
    METHODS,
    artifacts,
    config_of,
    fill,
    without_times,
)
from tiny import KillAfter, Killed

from clinprompt.errors import ArtifactError, DataError, RunError, SettingError
from clinprompt.evaluation.cells import read_cells
from clinprompt.jobs.comparison.budget import Budget
from clinprompt.jobs.comparison.report_again import report_again
from clinprompt.jobs.comparison.report_contents import report_contents
from clinprompt.methods.check_methods import check_methods
from clinprompt.methods.resolve import resolve, resolve_all
from clinprompt.prompts.artifact import load_artifact
from clinprompt.prompts.store import open_prompt
from clinprompt.runs.suite_data import load_suite
from clinprompt.settings.run import check_config
from clinprompt.training.runlog import RunLog

ALL_METHODS = (
    *METHODS,
    "in-context",
    "spot",
    "peft-mpt",
    "full",
    "lora@wide",
    "adapted-metaprompt@untaught",
    "adapted-metaprompt@all-sources",
    "prompt-tuning@layers",
)
VARIANTS = {
    "wide": {"baselines": {"lora_rank": 4, "lora_modules": ["q_proj", "up_proj"]}},
    "untaught": {"distill": {"logits_weight": 0.0, "hidden_weight": 0.0}},
    "all-sources": {"adapt": {"routing": "all"}},
    "layers": {"prompt": {"placement": "layers"}},
}


@pytest.fixture(scope="module")
def compared(tmp_path_factory, tiny_llama_folder):
    """Fill a grid of all methods once."""
    base = tmp_path_factory.mktemp("compare")
    grid = {"methods": ALL_METHODS, "shots": [2, "all"], "targets": ["practice-nli-social"]}
    config = config_of(base, tiny_llama_folder, compare=grid, variants=VARIANTS)
    return base / "run", config, fill(base / "run", config, command=COMMAND).cells


def test_every_method_has_its_cells(compared):
    _, _, cells = compared
    once = {"instruction", "metaprompt"}
    shown = Counter((cell.method, cell.shots) for cell in cells)
    expected = {(name, 0) for name in once} | {("in-context", 2)}
    expected |= {(name, k) for name in set(ALL_METHODS) - once - {"in-context"} for k in (2, "all")}
    assert shown == dict.fromkeys(expected, 1)


def test_every_method_trains_as_many_numbers_as_its_formula_says(compared):
    _, _, cells = compared
    counts = {cell.method: cell.trained_numbers for cell in cells if cell.shots != 0}
    length, hidden, factors = 4, 32, 4 + 32
    # Two layers of two key-value heads of size 8: keys and values are 2 · 2 · 2 · 8 wide.
    assert counts["prompt-tuning@layers"] == length * 64
    assert counts["spot"] == length * hidden
    assert counts["peft-mpt"] == length * hidden + factors
    assert counts["adapted-metaprompt@untaught"] == length * hidden + factors
    # Two layers, rank 4: q 32→32, up 32→48.
    assert counts["lora@wide"] == 2 * 4 * (64 + 80)
    assert counts["in-context"] == 0
    # Embeddings, head 264·32, a norm; a layer: q, o 32·32, k, v 32·16, three 32·48, two norms.
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48 + 2 * 32
    assert counts["full"] == 2 * 264 * 32 + 32 + 2 * layer


def test_a_cell_has_the_number_of_examples_that_it_used(compared):
    _, _, cells = compared
    seen = {(cell.method, cell.shots): cell.num_examples for cell in cells}
    assert seen["instruction", 0] == 0
    assert seen["in-context", 2] == seen["lora", 2] == 2
    assert seen["lora", "all"] == 6  # data.train_rows


def test_cells_of_one_target_can_be_compared_row_by_row(compared):
    _, _, cells = compared
    assert len({cell.row_digest for cell in cells}) == 1
    assert all(len(cell.statistics) == cell.num_rows for cell in cells)


def test_training_curves_are_of_the_cells_of_the_report_including_variants(compared):
    folder, config, cells = compared
    kept = [cell for cell in cells if cell.method != "lora"]
    suite = load_suite(config.suite, config.data, None)
    plain = open_run(folder, config)
    drawn = report_contents(plain, resolve_all(config), suite, kept, command="").curves
    assert {"distill/distill", "distill@untaught/distill"} <= set(drawn)
    assert "practice-nli-social/prompt-tuning@layers-k2-seed0" in drawn
    assert "practice-nli-social/lora@wide-k2-seed0" in drawn
    assert "practice-nli-social/lora-k2-seed0" not in drawn


def test_a_variant_with_another_distillation_trains_its_own_metaprompt(
    compared,
):
    folder, _, _ = compared
    [plain] = (folder / "store" / "metaprompts").iterdir()
    [other] = (folder / "variants" / "untaught" / "store" / "metaprompts").iterdir()
    assert plain.name != other.name
    assert load_artifact(other).manifest.settings["distill"]["logits_weight"] == 0
    # A variant that only adapts in another way does not, and no variant trains teachers again.
    assert not (folder / "variants" / "all-sources" / "store" / "metaprompts").exists()
    assert not (folder / "variants" / "untaught" / "store" / "teachers").exists()


@pytest.mark.slow
def test_a_variant_with_routed_segments_is_compared_and_shares_the_teachers(
    tmp_path, tiny_llama_folder
):
    names = ("metaprompt", "adapted-factors", "adapted-metaprompt")
    grid = {"methods": [*names, *(f"{name}@routed" for name in names)], "shots": [2]}
    variants = {"routed": {"prompt": {"segment": 2}}}
    config = config_of(tmp_path, tiny_llama_folder, compare=grid, variants=variants)
    cells = fill(tmp_path / "run", config).cells
    assert len(cells) == 2 * len(grid["methods"])
    counts = {cell.method: cell.trained_numbers for cell in cells}
    assert all(counts[f"{name}@routed"] == counts[name] for name in names)
    store = tmp_path / "run" / "variants" / "routed" / "store"
    [routed] = (store / "metaprompts").iterdir()
    # 2 general rows and 2 for each of 5 types, of a plain prompt of 4 positions.
    assert load_artifact(routed).tensors["shared"].shape == (2 + 2 * 5, 32)
    assert not (store / "teachers").exists()
    saved = store / "practice-nli-social" / "adapted-factors@routed-k2-seed0"
    assert open_prompt(saved)[1].shape == (4, 32)
    values = {"methods": names, "shots": [2]}
    again = config_of(tmp_path, tiny_llama_folder, compare=values, metaprompt=str(routed))
    expected = [cell for cell in cells if cell.method.endswith("@routed")]
    found = fill(tmp_path / "again", again).cells
    assert [cell.value for cell in found] == [cell.value for cell in expected]


def test_methods_compared_after_full_fine_tuning_score_as_without_it(compared, tmp_path):
    """Full fine-tuning changes the loaded weights; the next method must find them restored."""
    _, config, cells = compared
    methods = ("full", "prompt-tuning", "lora")
    grid = config.compare.model_copy(update={"methods": methods, "shots": (2,)})
    found = fill(tmp_path / "run", config.model_copy(update={"compare": grid})).cells
    assert [cell.method for cell in found] == list(methods)
    expected = {cell.method: cell for cell in cells if cell.shots == 2}
    assert without_times(found) == without_times([expected[name] for name in methods])


def test_a_second_call_computes_nothing_and_gives_the_same(compared):
    folder, config, cells = compared
    assert fill(folder, config).cells == cells


def test_a_report_is_written_again_from_the_files_of_a_run_alone(compared, tmp_path):
    folder, _, _ = compared
    copy = tmp_path / "copy"
    for name in ("cells.jsonl", "config.json", "report/contents.json"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((folder / name).read_bytes())
    report = report_again(copy)
    for name in ("report.md", "report.html"):
        assert (report.parent / name).read_bytes() == (folder / "report" / name).read_bytes()


def test_a_report_shows_what_earlier_commands_compared(compared, tmp_path):
    """The last command compared one method with two examples alone."""
    folder, _, _ = compared
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("store", "variants"))
    saved = json.loads((copy / "config.json").read_text())
    saved["compare"] |= {"methods": ["lora"], "shots": [2]}
    (copy / "config.json").write_text(json.dumps(saved))
    text = report_again(copy).with_suffix(".md").read_text()
    assert "| lora, all rows |" in text
    assert "| adapted-metaprompt, 2-shot |" in text


def test_a_report_without_saved_contents_is_refused(compared, tmp_path):
    folder, _, _ = compared
    with pytest.raises(RunError, match=r"has no cells\.jsonl"):
        report_again(tmp_path)
    (tmp_path / "cells.jsonl").write_bytes((folder / "cells.jsonl").read_bytes())
    with pytest.raises(RunError, match="run 'clinprompt compare' once more"):
        report_again(tmp_path)


def test_more_shots_than_rows_takes_all_rows(tmp_path, tiny_llama_folder):
    grid = {"methods": ["prompt-tuning"], "shots": [100_000], "targets": ["practice-nli-social"]}
    config = config_of(tmp_path, tiny_llama_folder, compare=grid)
    [cell] = fill(tmp_path / "run", config).cells
    assert 2 < cell.num_examples < cell.shots == 100_000


class Clock:
    """A clock that advances by one second whenever it is read."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2.5, 4.5, 6.5])
def test_a_budget_computes_equally_many_cells_of_each_method_and_a_second_call_the_rest(
    tmp_path, tiny_llama_folder, seconds
):
    methods = ["metaprompt", "prompt-tuning", "lora", "adapted-metaprompt"]
    config = config_of(tmp_path, tiny_llama_folder, compare={"methods": methods, "shots": [2]})
    outcome = fill(tmp_path / "run", config, budget=Budget(seconds, Clock()))
    assert 0 < len(outcome.cells) < 8
    assert outcome.num_missing == 8 - len(outcome.cells)
    counts = Counter(cell.method for cell in outcome.cells if cell.shots)
    assert max(counts.values(), default=0) - min(counts.values(), default=0) <= 1
    whole = fill(tmp_path / "run", config)
    assert len(whole.cells) == 8
    assert whole.num_missing == 0


def fill_quietly(folder, config):
    torch.set_num_threads(1)
    fill(folder, config)


def fill_by_two(folder, config):
    spawning = multiprocessing.get_context("spawn")
    both = [spawning.Process(target=fill_quietly, args=(folder, config)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(timeout=120)
        assert process.exitcode == 0


@pytest.mark.slow
def test_two_processes_fill_one_grid_and_do_no_cell_twice(tmp_path, tiny_llama_folder):
    config = config_of(tmp_path, tiny_llama_folder)
    fill_by_two(tmp_path / "run", config)
    lines = (tmp_path / "run" / "cells.jsonl").read_text().splitlines()
    assert len(lines) == len(read_cells(tmp_path / "run" / "cells.jsonl")) == 12
    alone = fill(tmp_path / "alone", config).cells
    assert without_times(fill(tmp_path / "run", config).cells) == without_times(alone)


TEAMS = {"shots": [2], "together": 4}
PROMPTS = ("prompt-tuning", "spot", "peft-mpt", "adapted-factors", "adapted-metaprompt")


def in_teams(folder, model, **changes):
    """Return settings of a grid whose cells train side by side, some for longer than others."""
    grid = {"methods": ["metaprompt", "lora", *PROMPTS], **TEAMS, **changes}
    steps = {"prompt-tuning": 5, "spot": 2}
    return config_of(folder, model, compare=grid, adapt={**FIT, "method_steps": steps})


def test_cells_of_other_row_weights_or_placements_are_in_other_teams(tmp_path, tiny_llama_folder):
    grid = {"methods": ["prompt-tuning", "prompt-tuning@token", "peft-mpt"], "shots": [4]}
    grid |= {"targets": ["practice-ner-drugs"]}
    own = {"variants": {"token": {"adapt": {"row_weights": "token"}}}, "adapt": FIT}
    own |= {"prompt": {"length": 4, "placement": "layers"}}
    alone = config_of(tmp_path, tiny_llama_folder, compare=grid, **own)
    teams = config_of(tmp_path, tiny_llama_folder, compare={**grid, "together": 3}, **own)
    expected = fill(tmp_path / "alone", alone).cells
    assert without_times(fill(tmp_path / "teams", teams).cells) == without_times(expected)
    assert artifacts(tmp_path / "teams") == artifacts(tmp_path / "alone")


def scores(cells):
    return [cell.model_dump(exclude=MEASURED_TIMES | {"low", "high"}) for cell in cells]


def assert_close(folder, other):
    """Check that two stores hold the same prompts, within rounding."""
    names = sorted(artifacts(other))
    assert sorted(artifacts(folder)) == names
    for name in names:
        one, same = (load_file(place / "store" / name) for place in (folder, other))
        for key, tensor in same.items():
            torch.testing.assert_close(one[key], tensor, rtol=1e-3, atol=1e-3)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory, tiny_llama_folder):
    base = tmp_path_factory.mktemp("alone")
    config = in_teams(base, tiny_llama_folder, together=1)
    return base / "run", fill(base / "run", config).cells


def test_a_grid_filled_in_teams_has_the_same_cells(one_by_one, tmp_path, tiny_llama_folder):
    folder, cells = one_by_one
    config = in_teams(tmp_path, tiny_llama_folder)
    found = fill(tmp_path / "run", config).cells
    assert len(found) == 2 * 7
    assert scores(found) == scores(cells)
    assert_close(tmp_path / "run", folder)
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []
    # The curves of each cell are in the log.
    curves = [
        Counter(row["phase"] for row in RunLog(place / "metrics.jsonl").rows())
        for place in (folder, tmp_path / "run")
    ]
    assert curves[0] == curves[1]


def test_teams_of_variants_shots_and_seeds_have_the_same_cells(tmp_path, tiny_llama_folder):
    """One team of 2 targets x 2 shots x 2 seeds x 3 methods, one of them at another rate."""
    found = {}
    for together in (1, 100):
        grid = {
            "methods": ["prompt-tuning", "prompt-tuning@slow", "prompt-tuning@layers"],
            "shots": [2, 3],
            "seeds": [0, 1],
            "together": together,
        }
        own = {name: VARIANTS[name] for name in ("layers",)}
        own["slow"] = {"baselines": {"prompt_rate": 0.01}}
        config = config_of(tmp_path, tiny_llama_folder, compare=grid, variants=own)
        folder = tmp_path / f"run{together}"
        found[together] = scores(fill(folder, config).cells), folder
    assert len(found[1][0]) == 2 * 2 * 2 * 3
    assert found[100][0] == found[1][0]
    for variant in ("slow", "layers"):
        assert_close(*(found[n][1] / "variants" / variant for n in (100, 1)))


def test_steps_and_rates_of_a_number_of_examples_are_used_for_its_cells(
    tmp_path, tiny_llama_folder
):
    """The cells of 3 examples are those of a grid with these settings; teams have both."""
    grid = {"methods": ["prompt-tuning", "lora"], "targets": ["practice-nli-social"], "together": 4}
    own = {"adapt": {"steps": 5}, "baselines": {"prompt_rate": 0.02, "lora_rate": 0.02}}
    both = config_of(
        tmp_path, tiny_llama_folder, compare={**grid, "shots": [2, 3]}, at_shots={"3": own}
    )
    many = {name: {**getattr(both, name).model_dump(), **own[name]} for name in own}
    alone = config_of(tmp_path, tiny_llama_folder, compare={**grid, "shots": [3]}, **many)
    cells = fill(tmp_path / "both", both).cells
    expected = fill(tmp_path / "alone", alone).cells
    assert {(cell.shots, cell.steps) for cell in cells} == {(2, 3), (3, 5)}
    assert scores([cell for cell in cells if cell.shots == 3]) == scores(expected)
    saved = sorted((tmp_path / "alone" / "store").rglob("*.safetensors"))
    assert len(saved) == 1
    for path in saved:
        same = tmp_path / "both" / path.relative_to(tmp_path / "alone")
        torch.testing.assert_close(load_file(same), load_file(path), rtol=1e-3, atol=1e-3)


class StopAt:
    """Stop everything at the first message that begins with these words."""

    def __init__(self, start):
        self.start = start

    def begin(self, phase, *, total, done=0):
        pass

    def advance(self, **_):
        pass

    def say(self, message):
        if message.startswith(self.start):
            raise Killed


@pytest.mark.slow
def test_a_team_that_was_killed_in_training_continues_to_the_same_bits(tmp_path, tiny_llama_folder):
    config = in_teams(tmp_path, tiny_llama_folder, methods=PROMPTS)
    whole = fill(tmp_path / "whole", config)
    # Two teachers and the metaprompt take 3 + 3 + 5 steps; the team's last checkpoint is at 4.
    with pytest.raises(Killed):
        fill(tmp_path / "run", config, KillAfter(11 + 5))
    kept = list((tmp_path / "run" / "checkpoints").glob("*+*"))  # with the one before it
    assert len(kept) == 2
    found = fill(tmp_path / "run", config)
    assert without_times(found.cells) == without_times(whole.cells)
    assert artifacts(tmp_path / "run") == artifacts(tmp_path / "whole")
    assert not any(one.exists() for one in kept)


@pytest.mark.slow
def test_a_team_that_was_killed_in_scoring_loses_no_cell_that_was_scored(
    one_by_one, tmp_path, tiny_llama_folder
):
    _, cells = one_by_one
    config = in_teams(tmp_path, tiny_llama_folder)
    with pytest.raises(Killed):
        fill(tmp_path / "run", config, StopAt("practice-ner-drugs  spot"))
    done = read_cells(tmp_path / "run" / "cells.jsonl")
    assert [cell.method for cell in done] == ["metaprompt"] * 2 + ["lora", "prompt-tuning", "spot"]
    found = fill(tmp_path / "run", config).cells
    assert all(cell in found for cell in done)
    assert scores(found) == scores(cells)
    assert list((tmp_path / "run" / "checkpoints").iterdir()) == []


@pytest.mark.slow
def test_two_processes_fill_one_grid_in_teams_and_do_no_cell_twice(
    one_by_one, tmp_path, tiny_llama_folder
):
    config = in_teams(tmp_path, tiny_llama_folder)
    fill_by_two(tmp_path / "run", config)
    lines = (tmp_path / "run" / "cells.jsonl").read_text().splitlines()
    assert len(lines) == len(read_cells(tmp_path / "run" / "cells.jsonl")) == 14
    assert scores(fill(tmp_path / "run", config).cells) == scores(one_by_one[1])


def from_saved(compared, methods, **changes):
    """Return settings that compare methods from the metaprompt of a grid that is filled."""
    folder, config, _ = compared
    [saved] = (folder / "store" / "metaprompts").iterdir()
    values = config.model_dump(exclude={"variants", "prompt"})
    grid = {**values["compare"], "methods": methods}
    changed = {"metaprompt": str(saved), "compare": grid, **changes}
    return check_methods(check_config({**values, **changed}, source="x"))


def test_a_saved_metaprompt_is_compared_without_training_sources(compared, tmp_path):
    methods = ("metaprompt", "adapted-metaprompt")
    found = fill(tmp_path / "run", from_saved(compared, methods)).cells
    expected = [cell for cell in compared[2] if cell.method in methods]
    assert without_times(found) == without_times(expected)
    assert not (tmp_path / "run" / "store" / "teachers").exists()


def test_a_metaprompt_that_was_trained_on_a_target_is_refused(
    compared, tmp_path, tiny_llama_folder
):
    folder, _, _ = compared
    [saved] = (folder / "store" / "metaprompts").iterdir()
    config = config_of(tmp_path, tiny_llama_folder, metaprompt=str(saved))
    suite = (tmp_path / "small.toml").read_text()
    swapped = suite.replace("practice-ner-labs", "practice-ner-problems")
    (tmp_path / "small.toml").write_text(swapped.replace("practice-ner-drugs", "practice-ner-labs"))
    with pytest.raises(ArtifactError, match="was trained on practice-ner-labs"):
        fill(tmp_path / "run", config)


def test_a_report_says_for_which_targets_a_given_metaprompt_was_not_cleaned(compared, tmp_path):
    fill(tmp_path / "run", from_saved(compared, ["metaprompt"]), command=COMMAND)
    report = (tmp_path / "run" / "report" / "report.md").read_text()
    assert "but not with those of practice-nli-social" in report
    assert str(compared[0]) not in report


def test_a_given_metaprompt_allows_settings_of_source_tasks(compared, tmp_path):
    data = compared[1].data.model_copy(update={"target_tokens": {"practice-ner-labs": 9}})
    own = from_saved(compared, ["metaprompt"], data=data)
    assert len(fill(tmp_path / "run", own).cells) == 1


def test_a_target_without_a_fitting_answer_is_named_before_anything_is_computed(compared, tmp_path):
    data = compared[1].data.model_copy(update={"target_tokens": {"practice-nli-social": 2}})
    own = from_saved(compared, ["metaprompt", "prompt-tuning"], data=data)
    with pytest.raises(DataError, match="practice-nli-social: 1 example wanted, but only 0"):
        fill(tmp_path / "run", own)
    assert not (tmp_path / "run" / "cells.jsonl").exists()


def test_a_variant_with_results_keeps_its_settings(compared):
    folder, config, _ = compared
    wide = {**VARIANTS["wide"], "baselines": {"lora_rank": 3}}
    variants = {**VARIANTS, "wide": wide}
    values = config.model_dump(exclude={"variants"})
    changed = check_config({**values, "variants": variants}, source="x")
    with pytest.raises(RunError, match=r"variants/wide: holds a run with other settings"):
        fill(folder, changed)


def test_variants_with_the_same_teachers_start_spot_from_them(tmp_path, tiny_llama_folder):
    grid = {"methods": ["spot", "spot@slow"], "shots": [2], "targets": ["practice-nli-social"]}
    variants = {"slow": {"baselines": {"prompt_rate": 0.001}}}
    config = config_of(tmp_path, tiny_llama_folder, compare=grid, variants=variants)
    assert [cell.method for cell in fill(tmp_path / "run", config).cells] == grid["methods"]


def test_a_team_removes_the_checkpoint_of_a_cell_that_was_trained_alone_before(
    tmp_path, tiny_llama_folder
):
    grid = {"methods": ["prompt-tuning", "prompt-tuning@slow"], "shots": [2], "seeds": [0]}
    grid |= {"targets": ["practice-nli-social"], "together": 2}
    variants = {"slow": {"baselines": {"prompt_rate": 0.001}}}
    values = {"compare": grid, "variants": variants}
    fill(tmp_path / "run", config_of(tmp_path, tiny_llama_folder, **values))
    name = "practice-nli-social__prompt-tuning@slow-k2-seed1.safetensors"
    left = tmp_path / "run" / "variants" / "slow" / "checkpoints" / name
    left.parent.mkdir(exist_ok=True)
    left.touch()
    values["compare"] = {**grid, "seeds": [0, 1]}
    cells = fill(tmp_path / "run", config_of(tmp_path, tiny_llama_folder, **values)).cells
    assert len(cells) == 4
    assert not left.exists()


def test_factors_of_a_variant_find_the_metaprompt_of_the_run(tmp_path, tiny_llama_folder):
    grid = {"methods": ["adapted-factors@slow"], "shots": [2], "targets": ["practice-nli-social"]}
    variants = {"slow": {"adapt": {**FIT, "factor_rate": 0.001}}}
    config = config_of(tmp_path, tiny_llama_folder, compare=grid, variants=variants)
    fill(tmp_path / "run", config)
    store = tmp_path / "run" / "variants" / "slow" / "store"
    saved = store / "practice-nli-social" / "adapted-factors@slow-k2-seed0"
    assert open_prompt(saved)[1].shape == (4, 32)


def test_another_shape_than_the_saved_metaprompts_is_refused(compared, tmp_path):
    folder, config, _ = compared
    [saved] = (folder / "store" / "metaprompts").iterdir()
    values = config.model_dump(exclude={"variants", "prompt", "compare"})
    own = check_config({**values, "metaprompt": str(saved), "prompt": {"length": 7}}, source="x")
    with pytest.raises(
        SettingError, match=r"prompt.length = 7, but the metaprompt .* has 4; leave"
    ):
        fill(tmp_path / "run", own)


def test_a_default_that_the_user_sets_must_fit_the_saved_metaprompt_too(compared, tmp_path):
    config = from_saved(compared, ["prompt-tuning"])
    explicit = check_config(config.model_dump() | {"prompt": {"length": 100}}, source="x")
    with pytest.raises(SettingError, match=r"prompt.length = 100, but the metaprompt .* has 4"):
        fill(tmp_path / "run", explicit)


def test_the_input_form_is_that_of_the_saved_metaprompt(compared, tmp_path):
    folder, config, _ = compared
    [saved] = (folder / "store" / "metaprompts").iterdir()
    form_1 = tmp_path / "form-1"
    shutil.copytree(saved, form_1)
    manifest = json.loads((form_1 / "manifest.json").read_text())
    manifest["settings"]["data"]["input_form"] = 1
    (form_1 / "manifest.json").write_text(json.dumps(manifest))
    data = config.data.model_dump(exclude={"input_form"})
    values = config.model_dump(exclude={"variants", "prompt", "compare", "data"})
    own = check_config({**values, "metaprompt": str(form_1), "data": data}, source="x")
    assert resolve(own).data.input_form == 1
    own = check_config({**values, "metaprompt": str(saved), "data": data}, source="x")
    assert resolve(own).data.input_form == 2
    set_ = check_config(
        {**values, "metaprompt": str(saved), "data": data | {"input_form": 1}}, source="x"
    )
    with pytest.raises(SettingError, match=r"data.input_form = 1, but the metaprompt .* has 2"):
        resolve(set_)


def test_a_metaprompt_that_cannot_start_a_target_is_named_before_anything_is_computed(
    compared, tmp_path
):
    config = from_saved(compared, ["prompt-tuning", "metaprompt"])
    suite = (compared[0].parent / "small.toml").read_text()
    (tmp_path / "sum.toml").write_text(suite.replace("practice-ner-drugs", "practice-sum-plan"))
    grid = {"methods": ["prompt-tuning", "metaprompt"], "shots": [2]}
    changes = {"suite": str(tmp_path / "sum.toml"), "compare": grid}
    own = check_config(config.model_dump(exclude={"prompt"}) | changes, source="x")
    with pytest.raises(SettingError, match="has the type of practice-sum-plan"):
        fill(tmp_path / "run", own)
    assert not (tmp_path / "run" / "cells.jsonl").exists()


def test_lora_in_missing_layers_is_refused_before_anything_is_computed(tmp_path, tiny_llama_folder):
    wide = {"baselines": {"lora_modules": ["qkv"]}}
    grid = {"methods": ["metaprompt", "lora@wide"], "shots": [2]}
    config = config_of(tmp_path, tiny_llama_folder, compare=grid, variants={"wide": wide})
    with pytest.raises(SettingError, match="has no linear layer 'qkv'"):
        fill(tmp_path / "run", config)
    assert not (tmp_path / "run" / "store").exists()


def test_a_metaprompt_for_spot_must_have_teachers(compared):
    with pytest.raises(SettingError, match="method spot starts from prompts of single sources"):
        from_saved(compared, ["spot"])


@pytest.mark.parametrize(
    ("grid", "variants", "words"),
    [
        ({"methods": ["lara"]}, {}, "'lara' is no method"),
        ({"methods": ["lora@wide"]}, {}, "no variant 'wide'"),
        ({}, {"x": {"adapt": {"stepps": 3}}}, "variants.x: adapt.stepps: unknown setting"),
        ({}, {"x": {"name": "y"}}, "name is the same in all variants"),
        ({}, {"x": {"backbone": "y"}}, "backbone is the same .*; name others in compare.backbones"),
        ({"targets": ["practice-ner-labs"]}, {}, "has no target 'practice-ner-labs'"),
    ],
)
def test_a_wrong_grid_is_named(tmp_path, tiny_llama_folder, grid, variants, words):
    with pytest.raises(SettingError, match=words):
        fill(
            tmp_path / "run",
            config_of(tmp_path, tiny_llama_folder, compare=grid, variants=variants),
        )


def test_a_folder_that_is_not_a_run_is_not_changed(tmp_path, tiny_llama_folder):
    config = config_of(tmp_path, tiny_llama_folder)
    own = tmp_path / "mine"
    own.mkdir()
    (own / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and not a run"):
        fill(own, config)
    assert [path.name for path in own.iterdir()] == ["notes.txt"]


def test_a_report_names_a_metaprompt_only_if_a_method_has_one(tmp_path, tiny_llama_folder):
    grid = {"methods": ["instruction"], "targets": ["practice-nli-social"]}
    config = config_of(tmp_path, tiny_llama_folder, compare=grid)
    fill(tmp_path / "run", config, command=COMMAND)
    title = (tmp_path / "run" / "report" / "report.md").read_text().splitlines()[0]
    assert title == "# tiny: 1 unseen task"
