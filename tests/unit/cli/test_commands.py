"""The commands as a user meets them: help, output that fits the screen, messages for mistakes."""

import json
import subprocess
import sys

import pytest
from command_line import call

from clinprompt.version import __version__


def test_every_command_has_help():
    for words in (["tasks"], ["prompts"], ["compare"], ["quickstart"], ["predict"]):
        result = call(*words, "--help")
        assert result.exit_code == 0
        assert "Usage: clinprompt" in result.stdout


def test_the_help_of_serve_names_the_main_paths_and_a_body():
    words = " ".join(call("serve", "--help", columns=80).stdout.split())
    assert 'POST /v1/predict answers a note: {"tasks": ["NAME"], "text": "..."}.' in words
    for word in ("GET /v1/tasks", "GET / lists all paths", "Bearer TOKEN", "docs/serving.md"):
        assert word in words


def test_version_is_printed():
    assert call("--version").stdout.strip() == f"clinprompt {__version__}"


def assert_one_sentence(result, *words):
    assert result.exit_code == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stdout == ""


def test_an_unknown_task_is_one_sentence_and_exit_code_2():
    result = call("tasks", "show", "practice-ner-drug", "--examples", "0")
    assert_one_sentence(result, "practice-ner-drug", "did you mean practice-ner-drugs")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("text_classification", "use classification"),
        ("entailment", "use nli with two --text"),
        ("token-classification", "use ner"),
        ("relation-extraction", "use re"),
        ("question-answering", "use qa"),
        ("generation", "use summarization"),
        ("other", "known: ner, re, qa, nli, summarization, classification"),
    ],
)
def test_an_unknown_kind_of_task_is_answered_with_the_one_to_use(tmp_path, word, hint):
    (tmp_path / "a.csv").write_text("text,label\na,b\n")
    result = call("tasks", "new", "--type", word, "--from", "a.csv", folder=tmp_path)
    assert_one_sentence(result, f"no task type '{word}'; {hint}")
    assert ": ner, re, qa, nli, summarization" in result.stderr


def test_an_unknown_setting_is_one_sentence_and_exit_code_2(tmp_path):
    result = call("quickstart", "--set", "prompt.lenght=3", folder=tmp_path)
    assert_one_sentence(result, "prompt.lenght", "did you mean length")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_prompt_is_one_sentence_and_exit_code_2(tmp_path):
    assert_one_sentence(call("prompts", "show", tmp_path / "none"), "is not a saved prompt")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("evaluate", "nope"), "nope: no such folder, so it is not a saved prompt"),
        (("predict", "here", "none.txt", "a.jsonl"), "none.txt: no such file or folder of notes"),
        (("evaluate", "here", "--task", "nope"), "unknown task 'nope'"),
        (("adapt", "nope"), "unknown task 'nope'"),
        (("tune", "nope"), "unknown task 'nope'"),
        (("adapt", "practice-ner-drugs", "--metaprompt", "nope"), "nope: no such folder"),
    ],
)
def test_a_wrong_path_is_named_before_torch_is_imported(tmp_path, words, complaint):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "manifest.json").touch()
    code = (
        f"import sys\nfrom clinprompt.cli import main\nsys.argv = {['clinprompt', *words]}\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    run = [sys.executable, "-c", code]
    ended = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert complaint in ended.stderr
    assert ended.stdout == "False\n"


@pytest.mark.parametrize("name", ["a[b]c", "[/red]", "[bold]"])
def test_a_mistake_with_brackets_is_shown_as_it_was_typed(name):
    assert_one_sentence(call("tasks", "show", name, "--examples", "0"), name)


def test_a_prompt_in_a_folder_with_brackets_is_shown_as_it_is_named(tmp_path, tiny_llama_folder):
    folder = tmp_path / "[bold]run"
    result = call(
        "tune",
        "practice-nli-social",
        "--out",
        folder,
        "--set",
        f"backbone={tiny_llama_folder}",
        "--set",
        "teacher.steps=0",
        "--set",
        "prompt.length=2",
    )
    assert result.exit_code == 0, result.stderr
    assert str(folder) in result.stdout


def test_tasks_are_listed_as_json():
    rows = json.loads(call("tasks", "list", "--json").stdout)
    assert {"name", "type", "metric", "use", "license"} == rows[0].keys()
    assert "practice-ner-drugs" in {row["name"] for row in rows}


def test_the_list_of_tasks_has_one_line_a_task_on_80_columns():
    names = [row["name"] for row in json.loads(call("tasks", "list", "--json").stdout)]
    lines = call("tasks", "list", columns=80).stdout.splitlines()
    assert [line.split()[0] for line in lines if line.strip()][2:] == names
    assert max(map(len, lines)) <= 80


def test_tasks_show_renders_examples():
    result = call("tasks", "show", "practice-nli-social", "--examples", "1")
    assert result.exit_code == 0
    assert "practice-nli-social" in result.stdout
    assert "instruction (" in result.stdout


def test_an_answer_of_several_lines_is_indented_below_the_input():
    words = ("tasks", "show", "practice-re-dose", "--examples", 3)
    wide, narrow = (call(*words, columns=columns).stdout for columns in (100, 20))
    assert "\nDoses:\n  dose: warfarin | 50 mg\n  dose: sertraline | 2.5 mg\n" in wide
    assert "\nDoses:\n  dose: warfarin |\n  50 mg\n  dose: sertraline |\n  2.5 mg\n" in narrow


def long_task(folder):
    texts = [f"begins {n} " + "and so on, " * 900 + f"ends {n}" for n in range(9)]
    rows = [{"text": text, "label": "yn"[n % 2]} for n, text in enumerate(texts)]
    data = folder / "long.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    call("tasks", "new", "--type", "nli", "--from", data, "--text", "text", folder=folder)
    return folder / "long"


def test_the_middle_of_a_long_input_is_left_out_without_the_option_whole(tmp_path):
    folder = long_task(tmp_path)
    cut, whole = (call("tasks", "show", folder, *more).stdout for more in ((), ("--whole",)))
    for shown in (cut, whole):
        assert shown.count("begins") == shown.count("ends") == 2
    assert len(cut.splitlines()) < 80 < len(whole.splitlines())
    num_lines = (len(whole.splitlines()) - len(cut.splitlines())) // 2 + 1
    assert cut.count(f"... {num_lines} lines left out; --whole shows them ...") == 2
    assert "left out" not in whole


@pytest.mark.usefixtures("smollm2")
def test_what_is_missing_in_a_suite_goes_to_stderr_and_the_tasks_to_stdout(tmp_path):
    suite = tmp_path / "mine.toml"
    names = 'sources = ["practice-nli-history"]\ntargets = ["practice-nli-social"]\n'
    suite.write_text(f'name = "mine"\ntitle = "two"\n{names}missing = ["no [real] notes"]\n')
    result = call("tasks", "check", "--suite", suite, "--json")
    assert f"suite {suite}: no [real] notes" in result.stderr
    assert len(json.loads(result.stdout)) == 2


@pytest.mark.usefixtures("smollm2")
def test_tasks_check_says_what_survives():
    [row] = json.loads(call("tasks", "check", "practice-nli-social", "--json").stdout)
    assert row["survive"]["rows"] == 1.0


@pytest.mark.usefixtures("smollm2")
def test_tasks_check_explains_its_columns_and_ends_with_a_verdict():
    result = call("tasks", "check", "practice-nli-social", "practice-re-dose", columns=80)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "No problems found."
    assert "remarks above" not in result.stdout
    words = " ".join(result.stdout.split())
    for column in ("train, valid., test: ", "annotations: ", "lost to windows: ", "fit: "):
        assert column in words


@pytest.mark.usefixtures("smollm2")
def test_tasks_check_has_columns_for_links_only_if_a_task_has_links():
    mentions = " ".join(call("tasks", "check", "practice-ner-drugs", columns=100).stdout.split())
    assert "Mentions that survive the conversion to text" in mentions
    for word in ("and links that survive", "train links", "lost to windows"):
        assert word not in mentions
    both = call("tasks", "check", "practice-ner-drugs", "practice-re-dose", columns=100).stdout
    cells = ["practice-ner-drugs", "100.00%", "100.00%", "-", "-"]
    assert cells in [line.split() for line in both.splitlines()]
    assert "train links  lost to windows" in both


@pytest.mark.usefixtures("smollm2")
def test_tasks_check_fits_80_columns_and_says_at_the_end_what_is_wrong(tmp_path):
    result = call(
        *("tasks", "check", "ner-psytar", "--suite", "practice", "--mirror", tmp_path), columns=80
    )
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for task in ("practice-re-frequency", "practice-nli-history"):
        assert any(line.split()[:1] == [task] for line in lines)
    assert any(line.split() == ["ner-psytar", "no", "data"] for line in lines)
    assert result.stderr.startswith(
        f"error: 1 problem: ner-psytar: {tmp_path / 'ner-psytar'}: no such folder"
    )


@pytest.mark.usefixtures("smollm2")
def test_tasks_check_points_to_its_remarks(tmp_path):
    """Offsets in UTF-16 without the texts of mentions: nothing is refused, but words are cut."""
    rows = [
        {"text": f"\N{PILL} {n}: iron pill", "entities": [[5 + len(str(n)), 9 + len(str(n)), "A"]]}
        for n in range(30)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    new = ("tasks", "new", "--type", "ner", "--from", "a.jsonl", "--out", "mine")
    assert call(*new, folder=tmp_path).exit_code == 0
    lines = call("tasks", "check", "mine", folder=tmp_path, columns=200).stdout.splitlines()
    assert lines[-1] == "No problems found, but read the remarks above."
    assert lines[-2].startswith("mine: 30 of 30 records have mentions that begin or end inside")
