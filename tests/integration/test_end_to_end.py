"""From settings to answers on a tiny model: compare, stop, continue, report, adapt, annotate."""

import json
import re

import pytest
import torch
from command_line import call
from safetensors.torch import load_file
from small_comparison import COMMAND, METHODS, artifacts, config_of, fill, without_times
from tiny import KillAfter, Killed

from clinprompt.errors import ArtifactError, BackboneError, RunError, SettingError
from clinprompt.evaluation.cells import read_cells
from clinprompt.jobs.adapt import Adaptation, adapt_task
from clinprompt.jobs.annotate import annotate_file, load_prompt
from clinprompt.jobs.evaluate import data_of, evaluate_prompt
from clinprompt.jobs.tune import tune_task
from clinprompt.prompts.store import Store
from clinprompt.tasks.card import find_card
from clinprompt.tasks.load import load_task
from clinprompt.training.progress import Silent


def run_comparison(folder, config, reporter=None):
    return fill(folder, config, reporter, command=COMMAND).cells


@pytest.fixture(scope="module")
def compared(tmp_path_factory, tiny_llama_folder):
    """Run a comparison once, without a stop."""
    base = tmp_path_factory.mktemp("compared")
    config = config_of(base, tiny_llama_folder)
    return base / "run", config, run_comparison(base / "run", config)


def test_a_comparison_gives_every_cell_and_a_report(compared):
    folder, _, cells = compared
    # Two targets, two methods without shots and four at two shots.
    assert len(cells) == 2 * 6
    assert {cell.method for cell in cells} == set(METHODS)
    assert without_times(read_cells(folder / "cells.jsonl")) == without_times(cells)
    assert all(cell.num_rows == 3 for cell in cells)
    assert (folder / "report" / "report.md").is_file()
    assert (folder / "report" / "report.html").is_file()
    assert json.loads((folder / "config.json").read_text())["name"] == "tiny"


def test_the_cells_count_what_was_trained(compared):
    _, _, cells = compared
    length, hidden, rank = 4, 32, 1
    counts = {cell.method: cell.trained_numbers for cell in cells}
    factors = length * rank + rank * hidden
    assert counts == {
        "instruction": 0,
        "metaprompt": 0,
        "prompt-tuning": length * hidden,
        "adapted-factors": factors,
        "adapted-metaprompt": length * hidden + factors,
        # Two layers, rank 2: q 32→32, k and v 32→16, o 32→32.
        "lora": 2 * 2 * (64 + 48 + 48 + 64),
    }


def test_a_finished_comparison_leaves_no_checkpoint_and_no_draft(compared):
    folder, _, _ = compared
    assert list((folder / "checkpoints").iterdir()) == []
    # Lock files stay: what counts is the lock on them.
    locks = {".lock", ".cells.jsonl.lock", ".metrics.jsonl.lock"}
    assert {path.name for path in folder.rglob(".*")} == locks


def test_comparing_again_trains_nothing(compared):
    folder, config, cells = compared
    assert run_comparison(folder, config, KillAfter(1)) == cells


def test_a_lost_report_is_written_again(compared):
    folder, config, _ = compared
    (folder / "report" / "report.md").unlink()
    run_comparison(folder, config, KillAfter(1))
    assert (folder / "report" / "report.md").is_file()


# 2 teachers of 3 steps, 5 steps of distillation, 8 adaptations of 3 steps: 35 in all.
@pytest.mark.slow
@pytest.mark.parametrize("kills", [(2, 3, 4), (9, 5), (13, 8), (35,)])
def test_a_killed_comparison_that_continues_equals_an_unbroken_one(compared, tmp_path, kills):
    folder, config, cells = compared
    for steps in kills:
        with pytest.raises(Killed):
            run_comparison(tmp_path / "run", config, KillAfter(steps))
    assert without_times(run_comparison(tmp_path / "run", config)) == without_times(cells)
    assert artifacts(tmp_path / "run") == artifacts(folder)


@pytest.mark.slow
def test_a_half_written_cell_is_computed_again(compared, tmp_path):
    _, config, cells = compared
    with pytest.raises(Killed):
        run_comparison(tmp_path / "run", config, KillAfter(20))
    path = tmp_path / "run" / "cells.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert without_times(run_comparison(tmp_path / "run", config)) == without_times(cells)


def test_a_comparison_can_be_extended_later(compared, tmp_path, tiny_llama_folder):
    _, config, cells = compared
    methods = {"methods": ["metaprompt"], "shots": []}
    run_comparison(
        tmp_path / "run",
        config_of(tmp_path, tiny_llama_folder, compare=methods, suite=config.suite),
    )
    later = run_comparison(tmp_path / "run", config)
    assert sorted(map(str, without_times(later))) == sorted(map(str, without_times(cells)))


def test_other_settings_in_the_same_folder_are_refused(compared):
    folder, config, _ = compared
    other = config.model_copy(update={"seed": 1})
    with pytest.raises(RunError, match="other settings: seed"):
        run_comparison(folder, other)


def test_a_folder_that_is_no_run_is_refused(compared, tmp_path):
    _, config, _ = compared
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty and not a run"):
        run_comparison(tmp_path, config)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_report_begins_with_what_is_missing_in_the_suite(compared):
    folder, _, _ = compared
    report = (folder / "report" / "report.md").read_text()
    assert report.index("Suite: small") < report.index("- no note is real") < report.index("## ")


def test_the_report_holds_no_absolute_path(compared, tiny_llama_folder):
    folder, _, _ = compared
    for path in (folder / "report").rglob("*.*"):
        content = path.read_bytes().decode(errors="ignore")
        assert str(folder.parent) not in content, path.name
        assert str(tiny_llama_folder.parent) not in content, path.name
        assert not re.search(r"[\s\"'(](/tmp|/home|/root|/work)/", content), path.name


def test_the_report_names_other_machines_that_computed_cells(compared):
    folder, config, _ = compared
    own = json.loads((folder / "environment.json").read_text())
    other = folder / "environment-gpu.json"
    other.write_text(json.dumps(own | {"device": "cuda (fast)"}))
    run_comparison(folder, config, KillAfter(1))
    other.unlink()
    report = (folder / "report" / "report.md").read_text()
    assert f"| device | {own['device']} |\n" in report
    assert "| device (gpu) | cuda (fast) |\n" in report
    assert "python (gpu)" not in report  # the same on both


def test_the_log_holds_numbers_only(compared):
    folder, _, _ = compared
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        phase = row.pop("phase")
        assert re.fullmatch(r"[\w/-]+", phase)
        assert all(isinstance(value, int | float) for value in row.values())


def test_a_saved_prompt_annotates_a_file(compared, tmp_path, tiny_llama_folder):
    folder, _, _ = compared
    notes, output = tmp_path / "notes.jsonl", tmp_path / "out.jsonl"
    notes.write_text('{"id": "a", "text": "Takes aspirin."}\n\n{"text": "No drugs — none."}\n')
    saved = folder / "store" / "practice-ner-drugs" / "adapted-factors-k2-seed0"
    with pytest.raises(BackboneError, match="give its folder or GGUF file with --backbone"):
        load_prompt(saved, device="cpu")
    loaded = load_prompt(saved, backbone=str(tiny_llama_folder), device="cpu")
    with pytest.raises(SettingError, match=r"is a folder; name a file, such as .*answers.jsonl"):
        annotate_file(loaded, notes, tmp_path)
    with pytest.raises(SettingError, match="is the file of notes itself"):
        annotate_file(loaded, notes, notes)
    assert annotate_file(loaded, notes, output) == 2
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == ["a", "3"]
    assert all(row["task"] == "practice-ner-drugs" for row in rows)
    assert all({"entities", "unparseable"} & row.keys() for row in rows)


def test_a_saved_prompt_scores_as_it_did_in_the_comparison(compared, tiny_llama_folder):
    folder, _, cells = compared
    name = "practice-nli-social"
    saved = folder / "store" / name / "adapted-metaprompt-k2-seed0"
    loaded = load_prompt(saved, backbone=str(tiny_llama_folder), device="cpu")
    found = evaluate_prompt(loaded, data_of(loaded, None), num_rows=3)
    [cell] = [c for c in cells if c.target == name and c.method == "adapted-metaprompt"]
    assert (found.value, found.low, found.high) == (cell.value, cell.low, cell.high)


@pytest.mark.parametrize(("rows", "counted"), [(9, "9 rows, too few to tell"), (10, "10 rows")])
def test_a_score_on_fewer_than_ten_rows_says_so(compared, tiny_llama_folder, rows, counted):
    saved = compared[0] / "store" / "practice-nli-social" / "adapted-metaprompt-k2-seed0"
    options = ["--backbone", tiny_llama_folder, "--device", "cpu", "--rows", rows]
    ended = call("evaluate", saved, *options, columns=200)
    assert ended.exit_code == 0, ended.stderr
    assert f" on {counted} (" in ended.stdout


def test_a_prompt_of_another_backbone_is_refused_or_marked(compared, tiny_gpt_oss_folder):
    folder, _, _ = compared
    saved = folder / "store" / "teachers" / "practice-ner-labs"
    other = str(tiny_gpt_oss_folder)
    with pytest.raises(ArtifactError, match="--allow-backbone"):
        load_prompt(saved, backbone=other, device="cpu")
    loaded = load_prompt(saved, backbone=other, device="cpu", allow_backbone=True)
    cell = evaluate_prompt(loaded, data_of(loaded, None), num_rows=2)
    assert cell.method == "teacher (other backbone)"


def adapt_once(folder, compared, *, method="adapted-metaprompt", shots=2, reporter=None):
    run, config, _ = compared
    [metaprompt] = (run / "store" / "metaprompts").iterdir()
    saved = adapted(folder, config, metaprompt, method=method, shots=shots, reporter=reporter)
    return load_file(saved / "prompt.safetensors")


def adapted(folder, config, metaprompt, *, method="adapted-metaprompt", shots=2, reporter=None):
    data = load_task(find_card("practice-nli-social"), None)
    own = config.model_copy(update={"metaprompt": str(metaprompt)})
    reporter = reporter or Silent()
    return adapt_task(folder, data, own, Adaptation(method, shots), reporter=reporter)


def test_adapting_alone_equals_adapting_in_a_comparison(compared, tmp_path):
    run, _, _ = compared
    in_comparison = run / "store" / "practice-nli-social" / "adapted-metaprompt-k2-seed0"
    expected = load_file(in_comparison / "prompt.safetensors")["vectors"]
    assert torch.equal(adapt_once(tmp_path / "alone", compared)["vectors"], expected)


def test_a_killed_adaptation_continues(compared, tmp_path):
    with pytest.raises(Killed):
        adapt_once(tmp_path / "run", compared, reporter=KillAfter(3))
    again = adapt_once(tmp_path / "run", compared)["vectors"]
    assert torch.equal(again, adapt_once(tmp_path / "fresh", compared)["vectors"])


def test_adapting_uses_the_settings_for_its_number_of_examples(compared, tmp_path):
    run, config, _ = compared
    [metaprompt] = (run / "store" / "metaprompts").iterdir()
    own = config.model_copy(update={"at_shots": {"2": {"adapt": {"steps": 1}}}})
    adapted(tmp_path / "run", own, metaprompt, shots=2)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert sum("loss" in json.loads(line) for line in lines) == 1


def test_adapting_again_with_other_shots_starts_from_the_beginning(compared, tmp_path):
    adapt_once(tmp_path / "run", compared, shots=2)
    again = adapt_once(tmp_path / "run", compared, shots=4)["vectors"]
    assert torch.equal(again, adapt_once(tmp_path / "fresh", compared, shots=4)["vectors"])


def test_adapting_by_another_method_after_a_kill_starts_from_the_beginning(compared, tmp_path):
    with pytest.raises(Killed):
        adapt_once(tmp_path / "run", compared, reporter=KillAfter(3))
    again = adapt_once(tmp_path / "run", compared, method="adapted-factors")
    fresh = adapt_once(tmp_path / "fresh", compared, method="adapted-factors")
    assert torch.equal(again["columns"], fresh["columns"])


def test_tuning_one_task_gives_the_teacher_of_the_comparison(compared, tmp_path):
    run, config, _ = compared
    saved = tune_task(
        tmp_path / "tune", "practice-ner-labs", config, mirror=None, reporter=Silent()
    )
    expected = run / "store" / "teachers" / "practice-ner-labs" / "prompt.safetensors"
    assert (saved / "prompt.safetensors").read_bytes() == expected.read_bytes()


def test_a_prompt_of_settings_that_this_version_does_not_know_is_named(compared, tiny_llama_folder):
    saved = compared[0] / "store" / "practice-nli-social" / "adapted-factors-k2-seed0"
    loaded = load_prompt(saved, backbone=str(tiny_llama_folder), device="cpu")
    loaded.artifact.manifest.settings["adapt"]["gone"] = 1
    with pytest.raises(ArtifactError, match=r"this version does not know adapt\.gone"):
        evaluate_prompt(loaded, data_of(loaded, None), num_rows=1)


def test_a_teacher_is_not_a_metaprompt(compared, tmp_path):
    run, config, _ = compared
    teacher = run / "store" / "teachers" / "practice-ner-labs"
    with pytest.raises(ArtifactError, match="not a metaprompt"):
        adapted(tmp_path / "run", config, teacher)


def test_the_store_lists_everything_that_was_trained(compared):
    folder, _, _ = compared
    # Two teachers, a metaprompt, and three methods of two targets that leave a prompt.
    assert len(Store(folder / "store").names()) == 2 + 1 + 3 * 2
