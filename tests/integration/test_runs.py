"""The runs of a comparison are opened one by one, so that several processes may."""

from contextlib import contextmanager

import pytest
import torch
from opened_run import open_run, teachers_in
from small_comparison import FIT, SUITE, config_of
from tiny import KillAfter, Killed

from clinprompt.errors import RunError
from clinprompt.jobs.comparison.variants import Runs
from clinprompt.methods.resolve import resolve_all
from clinprompt.runs.suite_data import load_suite
from clinprompt.runs.workspace import Workspace
from clinprompt.training.progress import Silent

MORE_TARGETS = '"practice-nli-social", "practice-re-frequency"'


class OneAtATime:
    """Claims that no block may hold twice: the end of the inner one would end both."""

    def __init__(self):
        self.held = set()

    @contextmanager
    def claim(self, name, *, wait=False):
        assert name not in self.held
        self.held.add(name)
        yield wait
        self.held.remove(name)


def test_a_variant_that_shares_teachers_opens_their_run_outside_its_own_claim(
    tmp_path, tiny_llama_folder
):
    variants = {"slow": {"adapt": {"factor_rate": 0.001}}}
    grid = {"methods": ("adapted-factors", "adapted-factors@slow"), "shots": [2]}
    config = config_of(tmp_path, tiny_llama_folder, variants=variants, compare=grid)
    suite = load_suite(config.suite, config.data, None)

    def opened():
        folder, settings, claims = tmp_path / "run", resolve_all(config), OneAtATime()
        return Runs(folder, config.backbone, settings, suite, None, claims, Silent())

    opened().open_plain()
    runs = opened()
    varied = runs.open(config.backbone, "slow")
    assert varied.teacher_workspace is runs.open_plain().workspace
    assert varied.workspace is not varied.teacher_workspace
    assert runs.open_plain().teacher_workspace is runs.open_plain().workspace


def test_a_variant_whose_suite_has_more_targets_reads_its_own_rows(tmp_path, tiny_llama_folder):
    (tmp_path / "more.toml").write_text(SUITE.replace('"practice-nli-social"', MORE_TARGETS))
    variants = {
        "more": {"suite": str(tmp_path / "more.toml")},
        "slow": {"adapt": {"factor_rate": 0.001}},
    }
    methods = ["adapted-factors", "adapted-factors@more", "adapted-factors@slow"]
    grid = {"methods": methods, "shots": [2]}
    config = config_of(tmp_path, tiny_llama_folder, variants=variants, compare=grid)
    suite = load_suite(config.suite, config.data, None)
    folder, settings, claims = tmp_path / "run", resolve_all(config), OneAtATime()
    runs = Runs(folder, config.backbone, settings, suite, None, claims, Silent())
    plain = runs.open_plain()
    more, slow = (runs.open(config.backbone, name) for name in ("more", "slow"))
    assert slow.task_rows is plain.task_rows
    assert slow.teacher_workspace is plain.workspace
    assert more.task_rows is not plain.task_rows
    assert more.teacher_workspace is more.workspace


def trained(folder, model, **teacher):
    """Return the teachers of a suite's sources and their logged validation losses."""
    config = config_of(folder, model, teacher={**FIT, "validate_every": 1, **teacher})
    suite = load_suite(config.suite, config.data, None)
    run = open_run(folder / f"run-{len(teacher)}", config)
    teachers = teachers_in(run, suite.sources)
    rows = [row for row in run.workspace.log.rows() if "validation_loss" in row]
    losses = {(row["phase"], row["step"]): row["validation_loss"] for row in rows}
    return run, suite, teachers, losses


def test_teachers_trained_side_by_side_are_those_trained_alone(tmp_path, tiny_llama_folder):
    _, _, alone, losses = trained(tmp_path, tiny_llama_folder)
    run, suite, both, same = trained(tmp_path, tiny_llama_folder, together=2)
    assert len(both) == 2
    assert len(losses) == 2 * FIT["steps"]
    for one, other in zip(alone, both, strict=True):
        torch.testing.assert_close(other.tensors["vectors"], one.tensors["vectors"])
        assert other.manifest.name == one.manifest.name
    assert same == pytest.approx(losses, rel=1e-4)
    assert not list((run.workspace.folder / "checkpoints").glob("*"))
    before = [teacher.manifest.content_hash for teacher in both]
    run.workspace.refresh()
    again = teachers_in(run, suite.sources)
    assert [teacher.manifest.content_hash for teacher in again] == before


def test_how_many_teachers_train_side_by_side_may_change_midway(tmp_path, tiny_llama_folder):
    config = config_of(tmp_path, tiny_llama_folder)
    suite = load_suite(config.suite, config.data, None)
    [first] = teachers_in(open_run(tmp_path / "run", config), suite.sources[:1])
    several = config_of(tmp_path, tiny_llama_folder, teacher={**FIT, "together": 2})
    kept, _ = teachers_in(open_run(tmp_path / "run", several), suite.sources)
    assert kept.manifest.content_hash == first.manifest.content_hash
    longer = config_of(tmp_path, tiny_llama_folder, teacher={**FIT, "steps": 9})
    with pytest.raises(RunError, match="other settings: teacher"):
        open_run(tmp_path / "run", longer)


def test_teachers_killed_before_they_are_kept_as_finished_take_no_step_again(
    tmp_path, tiny_llama_folder, monkeypatch
):
    teacher = {**FIT, "checkpoint_every": 1, "together": 2}
    config = config_of(tmp_path, tiny_llama_folder, teacher=teacher)
    suite = load_suite(config.suite, config.data, None)

    def killed(*_):
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(Workspace, "finish", killed)
        with pytest.raises(Killed):
            teachers_in(open_run(tmp_path / "run", config), suite.sources)
    run = open_run(tmp_path / "run", config, reporter=KillAfter(1))
    assert len(teachers_in(run, suite.sources)) == 2
    assert open_run(tmp_path / "run", config).workspace.finished.keys() == {
        f"teachers/{data.card.name}" for data in suite.sources
    }
