"""Several processes share a comparison on one machine, and the demo shows its results."""

import re
from contextlib import ExitStack

import pytest
from command_line import call
from opened_run import open_run
from small_comparison import artifacts, config_of, fill, without_times

from clinprompt.errors import RunError
from clinprompt.files import Claims
from clinprompt.jobs.comparison import processes
from clinprompt.jobs.comparison.example_notes import example_notes
from clinprompt.jobs.teachers import help_with_teachers
from clinprompt.runs.folder import CLAIMS
from clinprompt.runs.suite_data import load_suite
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.tasks.kinds import kind_of
from clinprompt.training.progress import Silent


class Lines(Silent):
    """A reporter that keeps its messages, and calls a function for each message."""

    def __init__(self, on_message=lambda _: None):
        self.phases, self.num_steps, self.on_message = [], 0, on_message

    def begin(self, what, *, total, done=0):
        self.phases.append((what, total, done))

    def advance(self, *, loss, tokens_per_second):  # noqa: ARG002
        self.num_steps += 1

    def say(self, message):
        self.on_message(message)


@pytest.mark.slow
def test_two_started_processes_give_the_cells_of_one(tmp_path, tiny_llama_folder):
    config = config_of(tmp_path, tiny_llama_folder)
    reporters = [Lines(), Lines()]
    processes.fill_in_processes(tmp_path / "run", config, reporters=reporters, num_threads=1)
    alone = fill(tmp_path / "alone", config).cells
    assert without_times(fill(tmp_path / "run", config).cells) == without_times(alone)
    assert artifacts(tmp_path / "run") == artifacts(tmp_path / "alone")
    total, done = processes.steps_in_all(tmp_path / "run", config)
    # Two teachers of 3 steps, 5 of distillation, 2 targets x 4 methods x 3 steps.
    assert total == done == sum(one.num_steps for one in reporters) == 2 * 3 + 5 + 2 * 4 * 3
    assert all(one.num_steps for one in reporters)


@pytest.mark.slow
def test_the_error_of_a_started_process_is_raised_and_ends_the_others(tmp_path, tiny_llama_folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    config = config_of(tmp_path, tiny_llama_folder)
    with pytest.raises(RunError, match="not empty and not a run"):
        processes.fill_in_processes(
            tmp_path / "mine",
            config,
            reporters=[Silent(), Silent()],
            num_threads=1,
        )


def test_cells_whose_metaprompt_another_process_makes_come_last(tmp_path, tiny_llama_folder):
    """The other process holds the claim on the metaprompt until all other cells are computed."""
    methods = ("metaprompt", "prompt-tuning", "adapted-factors")
    grid = {"methods": methods, "shots": [2], "targets": ["practice-nli-social"]}
    config = config_of(tmp_path, tiny_llama_folder, compare=grid)
    with ExitStack() as other:
        claims = Claims(tmp_path / "run" / CLAIMS)
        other.enter_context(claims.claim(f"metaprompt {(config.backbone, '')}"))

        def end_after_prompt_tuning(message):
            if "prompt-tuning" in message:
                other.close()

        reporter = Lines(end_after_prompt_tuning)
        cells = fill(tmp_path / "run", config, reporter).cells
    assert len(cells) == 3
    phases = [phase for phase, _, _ in reporter.phases]
    # It helps with the teachers first, then computes what needs no metaprompt.
    assert [phase.partition("/")[0] for phase in phases[:2]] == ["teachers", "teachers"]
    assert [phase.rpartition("/")[2].partition("-k")[0] for phase in phases[2:]] == [
        "prompt-tuning",
        "distill",
        "adapted-factors",
    ]


def test_a_process_trains_no_teacher_that_another_one_trains(tmp_path, tiny_llama_folder):
    config = config_of(tmp_path, tiny_llama_folder, teacher={"steps": 1, "together": 2})
    suite = load_suite(config.suite, config.data, None)
    run = open_run(tmp_path / "run", config)
    with Claims(run.workspace.folder / CLAIMS).claim("teachers/practice-ner-labs"):
        help_with_teachers(
            config,
            run.backbone,
            suite.sources,
            workspace=run.workspace,
            task_rows=task_rows_of(config, run.backbone),
        )
    assert set(run.workspace.finished) == {"teachers/practice-nli-history"}


def test_the_demo_ends_with_a_note_of_each_target(tmp_path, tiny_llama_folder, monkeypatch):
    """One process does all; the tiny model's answers are poor, but their offsets are right."""

    def fill_here(folder, config, *, reporters, num_threads):
        fill(folder, config, reporters[0])

    monkeypatch.setattr(processes, "fill_in_processes", fill_here)
    small = {
        "backbone": tiny_llama_folder,
        "device": "cpu",
        "data.max_input_tokens": 400,
        "data.test_rows": 3,
        "data.train_rows": 40,
        "teacher.steps": 1,
        "distill.steps": 1,
        "adapt.steps": 1,
        "compare.methods": '["instruction", "adapted-metaprompt"]',
        "compare.shots": "[2]",
    }
    options = [word for name, value in small.items() for word in ("--set", f"{name}={value}")]
    ended = call("quickstart", "--out", "run", *options, folder=tmp_path)
    assert ended.exit_code == 0, ended.stderr
    shown = ended.stdout
    assert "Train a teacher: a prompt for each of 5 source tasks" in shown
    headings = re.findall(r"^Note \d\. .*\((\S+), adapted-metaprompt\)$", shown, re.MULTILINE)
    assert headings == ["practice-ner-drugs", "practice-re-frequency", "practice-nli-social"]
    assert shown.index("6 results; report: run/report/report.html") < shown.index("Note 1.")


def test_example_notes_are_test_rows_with_something_to_find(tmp_path, tiny_llama_folder):
    grid = {"methods": ("adapted-metaprompt",), "shots": [1, 2]}
    config = config_of(tmp_path, tiny_llama_folder, compare=grid)
    fill(tmp_path / "run", config)
    notes = list(example_notes(tmp_path / "run", config))
    suite = load_suite(config.suite, config.data, None)
    assert [note.card.name for note in notes] == [data.card.name for data in suite.targets]
    for note, data in zip(notes, suite.targets, strict=True):
        record = note.prediction.example.record
        assert record in data.splits["test"]
        assert record.answer != kind_of(note.card).empty
