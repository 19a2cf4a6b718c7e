"""A search of settings on a tiny model: which trials are run, kept and ranked."""

import json
from collections import Counter

import pytest
from small_comparison import config_of

from clinprompt.errors import RunError, SettingError
from clinprompt.files import Claims
from clinprompt.jobs.comparison.search import search
from clinprompt.jobs.comparison.search_table import mean_ranks_and_shares
from clinprompt.jobs.comparison.trials import SEARCH_FILE, Trial
from clinprompt.runs.folder import CLAIMS
from clinprompt.tasks.card import find_card
from clinprompt.tasks.load import load_task
from clinprompt.training.progress import Silent

LORA_TRIAL = {"baselines": {"lora_rate": 0.01}}


def searched(folder, model, **changes):
    trials = {
        "lora": [{"baselines": {"lora_rate": 0.01}}, {"baselines": {"lora_rate": 0.1}}],
        "prompt-tuning": [{"adapt": {"steps": 1}}, {"adapt": {"steps": 3}}],
        "adapted-factors": [{"adapt": {"factor_rate": 0.01}}, {"adapt": {"factor_rate": 0.1}}],
    }
    section = {"tasks": ["practice-ner-problems"], "shots": 2, "trials": trials, **changes}
    return config_of(folder, model, search=section)


def ranked(folder, model, **changes):
    """Return the lines of the table of a search with one trial."""
    config = searched(folder, model, trials={"lora": [LORA_TRIAL]}, **changes)
    return search(folder / "run", config, mirror=None, reporter=Silent()).rows


def lines_of(folder):
    """Return the results of the finished trials of a run."""
    return [json.loads(line) for line in (folder / SEARCH_FILE).read_text().splitlines()]


def test_a_search_tries_each_method_equally_often_and_can_be_continued(tmp_path, tiny_llama_folder):
    config = searched(tmp_path, tiny_llama_folder)
    table = search(tmp_path / "run", config, mirror=None, reporter=Silent())
    assert Counter(row[0] for row in table.rows) == {
        "lora": 2,
        "prompt-tuning": 2,
        "adapted-factors": 2,
    }
    for method in ("lora", "prompt-tuning", "adapted-factors"):
        ranks = [float(row[2]) for row in table.rows if row[0] == method]
        assert ranks == sorted(ranks)
        assert sum(ranks) == 1 + 2
    log = tmp_path / "run" / SEARCH_FILE
    before = log.read_bytes()
    assert {json.loads(line)["steps"] for line in before.splitlines()} == {1, 3}
    assert search(tmp_path / "run", config, mirror=None, reporter=Silent()) == table
    assert log.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ["practice-nli-social"]}, "source or target"),
        ({"trials": {"lora": [{}], "full": [{}, {}]}}, "equally many"),
        ({"trials": {"instruction": [{}]}}, "trains nothing"),
        ({"trials": {"lora-multitask": [{}]}}, "lora-multitask is first trained on sources"),
        ({"trials": {"lora": [{"adapt": {"x": 1}}]}}, "trial 1: adapt.x: unknown setting"),
        ({"trials": {"lora": [{"teacher": {"steps": 1}}]}}, "teacher has no effect on lora"),
        ({"trials": {"adapted-factors": [{"prompt": {"rank": 2}}]}}, "prompt has no effect"),
        (
            {"trials": {"adapted-factors": [{}, {"data": {"input_form": 1}}]}},
            "trial 2: data.input_form = 1, but the metaprompt has 2",
        ),
    ],
)
def test_an_unfair_or_leaking_search_is_refused(tmp_path, tiny_llama_folder, changes, words):
    with pytest.raises(SettingError, match=words):
        search(
            tmp_path / "run",
            searched(tmp_path, tiny_llama_folder, **changes),
            mirror=None,
            reporter=Silent(),
        )


def test_a_task_with_large_losses_does_not_decide_a_search():
    """One trial is better on two of three tasks, and far worse in loss on the third."""
    lines = {
        "a": [(0.6, 0.5), (0.5, 0.6), (0.1, 4.0)],
        "b": [(0.4, 0.9), (0.3, 0.8), (0.2, 1.0)],
    }
    losses = {name: sum(loss for _, loss in own) / 3 for name, own in lines.items()}
    assert losses["b"] < losses["a"]
    ranks, shares = mean_ranks_and_shares({n: [score for score, _ in o] for n, o in lines.items()})
    assert ranks == {"a": pytest.approx(4 / 3), "b": pytest.approx(5 / 3)}
    # Trial a is best on two tasks and has half of the best score on the third.
    assert shares == {"a": pytest.approx(2.5 / 3), "b": pytest.approx((2 / 3 + 0.6 + 1) / 3)}


def test_equal_scores_share_a_rank_and_a_task_that_nobody_solves_counts_for_nobody():
    ranks, shares = mean_ranks_and_shares({"a": [0.5, 0.0], "b": [0.5, 0.0]})
    assert ranks == {"a": 1.5, "b": 1.5}
    assert shares == {"a": 1.0, "b": 1.0}


def test_a_trial_of_an_earlier_version_without_a_score_is_run_again(tmp_path, tiny_llama_folder):
    assert len(ranked(tmp_path, tiny_llama_folder)) == 1
    log = tmp_path / "run" / SEARCH_FILE
    [line] = map(json.loads, log.read_text().splitlines())
    old = {key: value for key, value in line.items() if key not in ("score", "metric")}
    log.write_text(json.dumps(old) + "\n")
    assert len(ranked(tmp_path, tiny_llama_folder)) == 1
    assert ["score" in json.loads(one) for one in log.read_text().splitlines()] == [False, True]


def test_a_search_judged_by_loss_writes_no_answers_and_ranks_by_loss(tmp_path, tiny_llama_folder):
    config = searched(tmp_path, tiny_llama_folder, judged_by="loss")
    table = search(tmp_path / "run", config, mirror=None, reporter=Silent())
    lines = lines_of(tmp_path / "run")
    assert len(lines) == 6
    assert not any("score" in line for line in lines)
    for method in ("lora", "prompt-tuning", "adapted-factors"):
        losses = {line["settings"]: line["loss"] for line in lines if line["method"] == method}
        assert len(set(losses.values())) == 2
        shown = [(row[1], row[4]) for row in table.rows if row[0] == method]
        assert shown == [(one, f"{losses[one]:.3f}") for one in sorted(losses, key=losses.get)]


def test_a_trial_without_a_step_has_no_training_loss(tmp_path, tiny_llama_folder):
    trials = {"adapted-factors": [{"adapt": {"steps": 0}}]}
    config = searched(tmp_path, tiny_llama_folder, judged_by="loss", trials=trials)
    search(tmp_path / "run", config, mirror=None, reporter=Silent())
    [line] = lines_of(tmp_path / "run")
    assert (line["steps"], line["training_loss"]) == (0, None)
    assert line["loss"] > 0


def test_a_search_does_not_continue_on_changed_records_of_a_held_back_task(
    tmp_path, tiny_llama_folder
):
    config = searched(tmp_path, tiny_llama_folder, trials={"lora": [LORA_TRIAL]})
    search(tmp_path / "run", config, mirror=None, reporter=Silent())
    saved = tmp_path / "run" / "tasks.json"
    hashes = json.loads(saved.read_text())
    hashes["practice-ner-problems"]["whole"] = "0" * 64
    saved.write_text(json.dumps(hashes))
    more = searched(tmp_path, tiny_llama_folder, shots=3, trials={"lora": [LORA_TRIAL]})
    with pytest.raises(RunError, match=r"practice-ner-problems .* changed since this run began"):
        search(tmp_path / "run", more, mirror=None, reporter=Silent())


@pytest.mark.parametrize("judged_by", ["loss", "score"])
def test_a_trial_that_diverges_is_the_worst_and_the_search_goes_on(
    tmp_path, tiny_llama_folder, judged_by
):
    rates = (1e30, 0.01)
    trials = {"lora": [{"baselines": {"lora_rate": rate}} for rate in rates]}
    config = searched(tmp_path, tiny_llama_folder, trials=trials, judged_by=judged_by)
    table = search(tmp_path / "run", config, mirror=None, reporter=Silent())
    lost, kept = lines_of(tmp_path / "run")
    assert (lost["loss"], lost.get("score", 0.0)) == (None, 0.0)
    assert kept["loss"] < 100
    assert len(table.rows) == 2
    if judged_by == "loss":
        assert [row[1] for row in table.rows] == [kept["settings"], lost["settings"]]
    assert search(tmp_path / "run", config, mirror=None, reporter=Silent()) == table


def test_a_trial_whose_settings_are_written_in_another_order_is_the_same_trial(
    tmp_path, tiny_llama_folder
):
    trial = {"adapt": {"steps": 1, "rows": 1}, "baselines": {"lora_rate": 0.01}}
    turned = {"baselines": {"lora_rate": 0.01}, "adapt": {"rows": 1, "steps": 1}}
    for changes in (trial, turned):
        config = searched(tmp_path, tiny_llama_folder, trials={"lora": [changes]})
        table = search(tmp_path / "run", config, mirror=None, reporter=Silent())
        assert len(table.rows) == 1
    assert len(lines_of(tmp_path / "run")) == 1


def test_trials_with_another_number_of_shots_are_run_and_ranked_separately(
    tmp_path, tiny_llama_folder
):
    assert len(ranked(tmp_path, tiny_llama_folder)) == 1
    assert len(ranked(tmp_path, tiny_llama_folder, shots=3)) == 1
    assert [line["shots"] for line in lines_of(tmp_path / "run")] == [2, 3]


def test_a_search_uses_the_settings_for_its_number_of_examples(tmp_path, tiny_llama_folder):
    """A trial that changes the steps itself has its own."""
    config = searched(tmp_path, tiny_llama_folder, trials={"lora": [{}, {"adapt": {"steps": 1}}]})
    config = config.model_copy(update={"at_shots": {"2": {"adapt": {"steps": 2}}}})
    search(tmp_path / "run", config, mirror=None, reporter=Silent())
    assert {line["steps"] for line in lines_of(tmp_path / "run")} == {1, 2}


def test_settings_are_not_ranked_before_all_their_trials_are_finished(tmp_path, tiny_llama_folder):
    """The trial of the second seed is skipped as long as another process works on it."""
    assert len(ranked(tmp_path, tiny_llama_folder)) == 1
    data = load_task(find_card("practice-ner-problems"), None)
    second = Trial("lora", 0, LORA_TRIAL, data, shots=2, seed=1)
    with Claims(tmp_path / "run" / CLAIMS).claim(second.key):
        assert ranked(tmp_path, tiny_llama_folder, seeds=(0, 1)) == []
    assert len(ranked(tmp_path, tiny_llama_folder, seeds=(0, 1))) == 1


def test_answers_of_trials_are_calibrated_as_those_of_cells(tmp_path, tiny_llama_folder):
    found = {}
    for mode in ("off", "on"):
        config = searched(
            tmp_path,
            tiny_llama_folder,
            tasks=["practice-qa-choice"],
            trials={"lora": [LORA_TRIAL]},
        )
        data = config.data.model_copy(update={"calibration": mode, "validation_rows": 40})
        config = config.model_copy(update={"data": data})
        search(tmp_path / mode, config, mirror=None, reporter=Silent())
        [line] = lines_of(tmp_path / mode)
        found[mode] = line["score"], line["loss"]
    assert found["on"][1] == found["off"][1]
    assert found["on"][0] != found["off"][0]
