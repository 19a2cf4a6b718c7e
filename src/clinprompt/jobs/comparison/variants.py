"""Open the runs of a comparison: one for each backbone and variant, each when first needed.

The run without variant is in the folder of the comparison, the others are in folders below it. If a
variant learns something in the same way as the run without variant, it is learned once, there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Row
from clinprompt.errors import SettingError
from clinprompt.files import Claims
from clinprompt.jobs.sources import load_from_sources
from clinprompt.jobs.teachers import load_teacher
from clinprompt.methods.method import Start
from clinprompt.methods.resolve import Resolved
from clinprompt.methods.same_training import (
    backbone_of,
    cleaned_alike,
    encoding_of,
    same_on_sources,
    same_teachers,
)
from clinprompt.prompts.artifact import Artifact
from clinprompt.runs.folder import check_folder
from clinprompt.runs.suite_data import SuiteData, check_suite, find_packed, load_suite
from clinprompt.runs.task_rows import TaskRows, task_rows_of
from clinprompt.runs.workspace import Workspace, load_run_backbone, open_workspace
from clinprompt.settings.local_names import plain_name
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.load import TaskData
from clinprompt.training.progress import Reporter


def check_undivided(config: RunConfig) -> None:
    """Check that each process has a whole backbone, as processes that share a grid need it.

    Raises:
        SettingError: the settings divide the backbone over processes.
    """
    if config.tensor_parallel:
        raise SettingError(
            "tensor_parallel = true cannot be used in a comparison or search, whose processes "
            "compute different cells; leave it out, or use tune, distill or adapt, and evaluate "
            "with --tensor-parallel"
        )


@dataclass(frozen=True, slots=True)
class OpenVariant:
    """What the cells of one backbone and variant use.

    ``teacher_workspace`` is where its teachers are: its own workspace, or that of the run without
    variant if both train the same teachers. ``source_workspace`` has what methods learned from all
    source tasks, in the same way.
    """

    config: RunConfig
    backbone: Backbone
    workspace: Workspace
    task_rows: TaskRows
    teacher_workspace: Workspace
    source_workspace: Workspace

    def start(
        self, card: TaskCard, rows: Sequence[Row], *, seed: int, metaprompt: Artifact | None
    ) -> Start:
        """Return what a method starts from on a task."""
        say, load = self.workspace.reporter.say, partial(load_teacher, self.teacher_workspace)
        return Start(
            self.config,
            self.backbone,
            card,
            rows,
            seed,
            metaprompt,
            load,
            say,
            load_from_sources=partial(load_from_sources, self.source_workspace),
        )


@dataclass
class Runs:
    """The runs of a comparison. Owns what they share: the loaded backbone, suites, claims.

    ``backbone`` is the backbone of the comparison; its run without variant is the plain run.
    """

    folder: Path
    backbone: str
    settings: Resolved
    suite: SuiteData
    mirror: Path | None
    claims: Claims
    reporter: Reporter
    _opened: dict[tuple[str, str], OpenVariant] = field(default_factory=dict)
    _suites: dict[str, SuiteData] = field(default_factory=dict)

    def open_plain(self) -> OpenVariant:
        """Return the run of the comparison's backbone without variant; see ``open``."""
        return self.open(self.backbone, "")

    def open(self, backbone: str, variant: str) -> OpenVariant:
        """Return the run of a backbone under a variant ("": none).

        Raises:
            RunError: its folder holds a run with other settings.
            BackboneError: the backbone cannot be loaded.
        """
        key = (backbone, variant)
        if key not in self._opened:
            config, plain = self.settings[key], self.settings[backbone, ""]
            shares_teachers = variant and not config.metaprompt and same_teachers(config, plain)
            teachers = self.open(backbone, "").workspace if shares_teachers else None
            shares_sources = variant and same_on_sources(config, plain)
            learned = self.open(backbone, "").workspace if shares_sources else None
            loaded = self._loaded(key)
            with self.claims.claim("open", wait=True):
                workspace = open_workspace(
                    self._folder(*key),
                    config,
                    loaded,
                    reporter=self.reporter,
                    results_folder=self.folder,
                )
                if not variant:
                    workspace.record_tasks([*self.suite.sources, *self.suite.targets])
            rows = self._rows_of(config, loaded)
            self._opened[key] = OpenVariant(
                config, loaded, workspace, rows, teachers or workspace, learned or workspace
            )
        return self._opened[key]

    def check(self, backbone: str, variant: str) -> None:
        """Check that the run's folder holds a run with the same settings, if any; load nothing.

        Raises:
            RunError: its folder holds a run with other settings, or something else.
        """
        config = self.settings[backbone, variant]
        check_folder(self._folder(backbone, variant), config, results_folder=self.folder)

    def record_tasks(self, opened: OpenVariant, tasks: Sequence[TaskData]) -> None:
        """Record the data of more tasks in a run, or check that they are still the same.

        Raises:
            RunError: they have changed since the run began.
        """
        with self.claims.claim("open", wait=True):
            opened.workspace.record_tasks(tasks)

    def sources_of(self, opened: OpenVariant) -> tuple[TaskData, ...]:
        """Return the source tasks that a run learns from.

        Raises:
            SettingError: the variant's suite lacks a target, so its sources may overlap with it.
            RunError: the data of a source have changed since the run began.
        """
        config, plain = opened.config, self.settings[self.backbone, ""]
        if (config.suite, config.data) == (plain.suite, plain.data):
            return self.suite.sources
        key = f"{config.suite} {config.data}"
        if key not in self._suites:
            suite = load_suite(config.suite, config.data, self.mirror)
            check_suite(suite, config)
            targets, known = ({data.card.name for data in s.targets} for s in (self.suite, suite))
            if missing := targets - known:
                raise SettingError(
                    f"suite {config.suite} lacks the target {min(missing)} of suite "
                    f"{plain.suite}, so its sources were not cleaned of it; add it there"
                )
            self.record_tasks(opened, suite.sources)
            self._suites[key] = suite
        return self._suites[key].sources

    def _rows_of(self, config: RunConfig, loaded: Backbone) -> TaskRows:
        """Return the rows of tasks, which variants that encode them alike share."""
        for opened in self._opened.values():
            known = opened.config
            is_same = encoding_of(known) == encoding_of(config) and cleaned_alike(known, config)
            if opened.backbone is loaded and is_same:
                return opened.task_rows
        return task_rows_of(config, loaded, find_packed(self.mirror))

    def _folder(self, backbone: str, variant: str) -> Path:
        folder = self.folder
        if backbone != self.backbone:
            folder = folder / "backbones" / plain_name(backbone).replace("/", "--")
        return folder / "variants" / variant if variant else folder

    def _loaded(self, key: tuple[str, str]) -> Backbone:
        """Return the backbone; only one backbone at a time is kept in memory."""
        config = self.settings[key]
        for opened in self._opened.values():
            known = opened.config
            if backbone_of(known) == backbone_of(config):
                return opened.backbone
        self._opened.clear()
        return load_run_backbone(self._folder(*key), config, results_folder=self.folder)
