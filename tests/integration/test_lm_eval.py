"""lm-evaluation-harness scores a saved prompt as ``evaluate`` does, row for row, offline."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from command_line import call
from made_store import save_prompt

from clinprompt.errors import SettingError
from clinprompt.evaluation.calibration import calibration_of
from clinprompt.evaluation.predict import answered
from clinprompt.evaluation.questions import PromptUse
from clinprompt.jobs.annotate import prompt_on
from clinprompt.jobs.calibrate import with_calibration
from clinprompt.jobs.evaluate import data_of, evaluate_prompt, rows_of_test
from clinprompt.jobs.lm_eval.task_files import export_task
from clinprompt.prompts.artifact import save_manifest

CHOICE, LABEL, SUMMARY = "practice-qa-choice", "practice-nli-history", "practice-sum-plan"
NUM_ROWS = 40
SCRIPT = Path(__file__).parents[1] / "harness_scores.py"
needs_lm_eval = pytest.mark.skipif(
    find_spec("lm_eval") is None, reason="lm_eval is missing: pip install '.[eval]'"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_llama_folder, tiny_llama):
    """Make a prompt for questions in a chat, and one for labels in the old form, calibrated."""
    folder = tmp_path_factory.mktemp("harness")
    shutil.copytree(tiny_llama_folder, folder / "model")
    store, limits = folder / "store", {"max_input_tokens": 2000}
    save_prompt(store, folder / "model", CHOICE, **limits)
    own = save_prompt(
        store, folder / "model", LABEL, placement="layers", seed=1, input_form=1, **limits
    )
    loaded = prompt_on(tiny_llama, own)
    _, examples = rows_of_test(loaded, data_of(loaded, None), num_rows=NUM_ROWS)
    scores = [one.asks[0].scores for one in questions_of(loaded, examples)]
    found = calibration_of(examples[0].choices, scores)
    save_manifest(own, with_calibration(loaded.artifact, found).manifest)
    return folder


def questions_of(loaded, examples):
    return answered(
        loaded.backbone,
        loaded.encoder(),
        examples,
        cards={loaded.card.name: loaded.card},
        bank=loaded.bank(),
        prompts=[PromptUse(calibration=loaded.calibration)] * len(examples),
    )


@pytest.fixture(scope="module")
def seen(folder):
    """Return what lm_eval says, in a process that reaches no other machine if possible."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HOME": str(folder / "cache")}
    command = [sys.executable, str(SCRIPT), str(folder)]
    alone = ["unshare", "-rn"]
    if shutil.which("unshare") and not subprocess.run([*alone, "true"], check=False).returncode:
        command = [*alone, *command]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=500
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout.splitlines()[-1])


@needs_lm_eval
@pytest.mark.slow
@pytest.mark.parametrize("task", [CHOICE, LABEL])
def test_each_row_has_the_scores_and_the_choice_of_evaluate(task, seen, folder, tiny_llama):
    loaded = prompt_on(tiny_llama, folder / "store" / task)
    data = data_of(loaded, None)
    _, examples = rows_of_test(loaded, data, num_rows=200)
    asked, rows = questions_of(loaded, examples), seen[task]["rows"]
    assert len(rows) == len(examples) > 20
    assert (loaded.calibration is None) == (task == CHOICE)
    for row, example, question in zip(rows, examples, asked, strict=True):
        choices, scores = example.choices, question.asks[0].scores
        if loaded.calibration:
            scores = loaded.calibration.corrected(choices, scores)
        likely = [float(pair[0]) for pair in row["filtered_resps"]]
        assert likely == pytest.approx(scores, rel=1e-5)
        prediction = question.prediction()
        assert choices[likely.index(max(likely))] == prediction.text
        assert row["acc"] == float(prediction.text == example.target)
    answers = {question.prediction().text for question in asked}
    assert len(answers) > 1
    cell = evaluate_prompt(loaded, data, num_rows=200)
    assert cell.metric == "accuracy"
    assert seen[task]["results"]["acc,none"] == pytest.approx(cell.value)


@needs_lm_eval
@pytest.mark.slow
def test_log_likelihoods_are_corrected_only_among_choices_and_if_wanted(seen, folder, tiny_llama):
    means = prompt_on(tiny_llama, folder / "store" / LABEL).calibration.means
    found = seen["direct"]
    raw, corrected = ([one for one, _ in found[name]] for name in ("raw", "calibrated"))
    assert corrected == pytest.approx([raw[0] - means["yes"], raw[1] - means["no"]], rel=1e-5)
    assert found["alone"][0][0] == pytest.approx(raw[0], rel=1e-5)


@needs_lm_eval
@pytest.mark.slow
def test_answers_are_written_up_to_the_first_stop_word(seen):
    found = seen["direct"]
    assert len(found["text"]) > 6
    stop = found["text"][2:4]
    assert found["stopped"] == found["text"][: found["text"].index(stop)]


@needs_lm_eval
@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("sampled", "a prompt answers greedily; set do_sample to false"),
        ("unknown", "top_k has no effect on a prompt; known: do_sample, max_gen_toks"),
        ("rolling", "use tasks with output_type multiple_choice"),
        ("too_long", "10,000 tokens is, with prompt and answer, longer than the backbone"),
    ],
)
def test_what_a_prompt_cannot_do_is_refused(case, words, seen):
    assert words in seen["direct"][case]


def test_exported_rows_say_which_of_them_evaluate_cuts(folder, tiny_llama, tmp_path):
    own = save_prompt(tmp_path / "store", folder / "model", LABEL, max_input_tokens=60)
    loaded = prompt_on(tiny_llama, own)
    written = export_task(loaded, data_of(loaded, None), tmp_path / "tasks", num_rows=5)
    assert (written.num_rows, written.num_cut) == (5, 5)
    [table] = (tmp_path / "tasks").glob("*.jsonl")
    assert table.stat().st_mode & 0o077 == 0
    [rows] = [[json.loads(line) for line in table.read_text().splitlines()]]
    assert all(row["evaluate_cuts"] for row in rows)
    assert all(row["choices"] == ["yes", "no"] for row in rows)


def test_a_task_without_closed_choices_is_refused(folder, tiny_llama, tmp_path):
    loaded = prompt_on(tiny_llama, save_prompt(tmp_path / "store", folder / "model", SUMMARY))
    with pytest.raises(SettingError, match="lm_eval can score only choices"):
        export_task(loaded, data_of(loaded, None), tmp_path / "tasks", num_rows=5)
    assert not (tmp_path / "tasks").exists()


def test_without_lm_eval_the_error_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    result = call("lm_eval", "--model_args", "prompt=p", "--tasks", "t")
    assert result.exit_code == 2
    assert "pip install '.[eval]'" in result.stderr
