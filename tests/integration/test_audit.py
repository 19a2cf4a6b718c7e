"""The command ``audit`` on a tiny model: what it finds, keeps, refuses and never shows."""

import json
import random
import shutil

import pytest
from command_line import call
from made_metaprompt import save_metaprompt
from tiny import KillAfter, Killed, change_json

import clinprompt

SHOTS, STEPS = 16, 40
ADAPT = {"steps": STEPS, "rows": 4, "warmup_steps": 0, "routing": "all"}
ADAPT |= {"shared_rate": 0.05, "factor_rate": 0.05}
WORD = "kbwxqz"  # the texts are random letters of these


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_llama_folder):
    """Return a folder with a task whose labels nobody can learn but by heart, and its prompt."""
    folder = tmp_path_factory.mktemp("audit")
    draw = random.Random(1)
    texts = {"".join(draw.choices(WORD, k=9)) for _ in range(150)}
    lines = "".join(f"{text},{draw.choice('ab')}\n" for text in sorted(texts))
    (folder / "a.csv").write_text("text,label\n" + lines)
    new = ("tasks", "new", "--type", "classification", "--from", "a.csv", "--out", "codes")
    assert call(*new, folder=folder).exit_code == 0
    save_metaprompt(folder / "metaprompt", tiny_llama_folder, adapt=ADAPT)
    given = ("--metaprompt", "metaprompt", "--set", f"backbone={tiny_llama_folder}")
    words = (*given, "--set", "device=cpu", "--shots", SHOTS, "--out", "run")
    ended = call("adapt", "codes", *words, folder=folder)
    assert ended.exit_code == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def words(tiny_llama_folder):
    return ("--backbone", tiny_llama_folder, "--device", "cpu")


PROMPT = "run/store/codes"


@pytest.fixture(scope="module")
def audited(made, words):
    """Return what the audit of the prompt printed."""
    ended = call(
        "audit", PROMPT, "--task", "codes", "--out", "audit", *words, folder=made, columns=120
    )
    assert ended.exit_code == 0, ended.stderr
    return ended


@pytest.mark.slow
def test_a_prompt_that_learned_its_rows_by_heart_is_found_out(made, audited):
    found = json.loads((made / "audit" / "audit.json").read_text())
    assert (found["num_members"], found["num_others"], found["num_left_out"]) == (SHOTS, SHOTS, 0)
    assert (found["num_shadows"], found["steps"]) == (16, STEPS)
    assert found["attack"]["auc"]["value"] >= 0.7
    assert found["loss_of_members"] < found["loss_of_others"]


@pytest.mark.slow
def test_the_prompt_before_training_gives_nothing_away(made, audited):
    control = json.loads((made / "audit" / "audit.json").read_text())["control"]["auc"]
    assert control["low"] <= 0.5 <= control["high"]


@pytest.mark.slow
def test_the_table_shows_the_result_with_its_control(made, audited):
    found = json.loads((made / "audit" / "audit.json").read_text())
    printed = " ".join(audited.stdout.split())
    for name, what in {"attack": "the prompt", "control": "before training (control)"}.items():
        auc = found[name]["auc"]
        assert f"{what} {auc['value']:.2f} [{auc['low']:.2f}, {auc['high']:.2f}]" in printed
    assert "16 rows trained on, 16 not; 16 shadow prompts" in printed
    assert "result: audit/audit.json" in printed
    assert ("tells something" in printed) == (found["attack"]["auc"]["low"] > 0.5)


@pytest.mark.slow
def test_no_text_of_a_record_is_printed_or_kept(made, audited):
    files = [path for path in (made / "audit").rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"audit.json", "shadows.jsonl", "metrics.jsonl"}
    records = clinprompt.load_task(made / "codes").splits["train"]
    kept = b"\n".join(path.read_bytes() for path in files) + audited.stdout.encode()
    assert len(records) > 2 * SHOTS
    assert not [one.id for one in records if one.text.encode() in kept]
    assert (made / "audit" / "shadows.jsonl").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_stopped_audit_continues_and_ends_as_an_unbroken_one(made, audited, tiny_llama_folder):
    given = {"backbone": str(tiny_llama_folder), "device": "cpu", "folder": made / "stopped"}
    with pytest.raises(Killed):
        clinprompt.audit(
            made / PROMPT, made / "codes", shadows=16, reporter=KillAfter(STEPS + 30), **given
        )
    kept = (made / "stopped" / "shadows.jsonl").read_text()
    assert kept.count("\n") == 8  # those that are trained side by side
    found = clinprompt.audit(made / PROMPT, made / "codes", shadows=16, **given)
    assert found.to_dict() == json.loads((made / "audit" / "audit.json").read_text())
    assert (made / "stopped" / "shadows.jsonl").read_text().startswith(kept)
    # A finished audit trains nothing.
    again = clinprompt.audit(
        made / PROMPT, made / "codes", shadows=16, reporter=KillAfter(1), **given
    )
    assert again == found


@pytest.mark.slow
def test_json_is_all_that_is_printed_on_standard_output(made, audited, words):
    ended = call(
        *("audit", PROMPT, "--task", "codes", "--out", "audit", "--json"), *words, folder=made
    )
    assert json.loads(ended.stdout) == json.loads((made / "audit" / "audit.json").read_text())


def refusal(made, words, *given, prompt=PROMPT, task="codes"):
    ended = call(
        "audit", prompt, "--task", task, "--out", "refused", *words, *given, folder=made,
        columns=200,
    )  # fmt: skip
    assert ended.exit_code == 2, ended.stdout
    assert not (made / "refused" / "shadows.jsonl").exists()
    return ended.stderr


def test_a_prompt_outside_its_run_is_refused(made, words, tmp_path):
    shutil.copytree(made / PROMPT, tmp_path / "codes")
    said = refusal(made, words, prompt=str(tmp_path / "codes"))
    assert "the folder of its run is missing" in said
    assert "RUN/store/NAME" in said


def test_a_task_whose_records_changed_is_refused_by_what_changed(made, words, tmp_path):
    changed = tmp_path / "codes"
    shutil.copytree(made / "codes", changed)
    [data] = changed.glob("**/*.csv")
    lines = data.read_text().splitlines()
    data.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    said = refusal(made, words, task=str(changed))
    assert "codes: " in said
    assert "records of train" in said
    assert "changed since the prompt was trained" in said


def test_another_task_is_refused(made, words):
    said = refusal(made, words, task="practice-nli-social")
    assert "was trained for task codes, not for practice-nli-social" in said


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"shots": 0}, "trained on all records or on none"),
        ({"name": "codes/adapted-metaprompt-kall-seed0"}, "trained on all records or on none"),
        ({"method": "spot"}, "starts from more than its manifest names"),
        ({"method": "of-tomorrow"}, "starts from more than its manifest names"),
        ({"name": "codes/adapted-metaprompt-k16-0123456789abcdef"}, "adapted from (0123456789abc"),
        ({"shots": 140}, "140 examples wanted, but only"),
    ],
)
def test_a_prompt_that_does_not_say_how_it_was_trained_is_refused(made, words, values, why):
    run = made / f"changed-{abs(hash(str(values)))}"
    shutil.copytree(made / "run", run)
    change_json(run / "store" / "codes" / "manifest.json", **values)
    assert why in refusal(made, words, prompt=str(run / "store" / "codes"))


def test_too_few_shadows_are_refused(made, tiny_llama_folder):
    with pytest.raises(clinprompt.SettingError, match="give at least 4"):
        clinprompt.audit(made / PROMPT, made / "codes", shadows=3, folder=made / "few")
