"""Open the runs of a comparison: one for each backbone and variant, each when first needed.

The run without variant is in the folder of the comparison, the others are in folders below it. If a
variant would train the same teachers or the same metaprompt as the run without variant, they are
trained once, in the run without variant.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from clinprompt.backbone.load import Backbone, check_fits
from clinprompt.batches.encode import Row
from clinprompt.errors import SettingError
from clinprompt.files import Claims
from clinprompt.jobs.comparison.grid import CellSpec
from clinprompt.jobs.distill import distill, metaprompt_claim
from clinprompt.jobs.sources import load_from_sources, train_on_sources
from clinprompt.jobs.teachers import help_with_teachers, load_teacher, train_teachers
from clinprompt.methods.metaprompts import check_unseen, find_metaprompt
from clinprompt.methods.method import Start
from clinprompt.methods.resolve import (
    Resolved,
    cleaned_alike,
    same_metaprompt,
    same_on_sources,
    same_teachers,
)
from clinprompt.methods.table import method_of
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
    _metaprompts: dict[tuple[str, str], Artifact] = field(default_factory=dict)
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

    def team(self, spec: CellSpec) -> Hashable | None:
        """Return the key of the cells that can be trained side by side with a cell.

        These are cells of all variants, targets, shots and seeds whose prompts have the same
        placement, and whose rows are encoded, batched and weighted alike. None: the method trains
        no prompt, so its cells are computed alone.
        """
        method = method_of(spec.method)
        if method.trains != "prompt":
            return None
        config = self.settings[spec.backbone, spec.variant].at(spec.shots)
        adapt, placement = config.adapt, method.placement or config.prompt.placement
        batches = (adapt.rows, adapt.micro_batch_tokens, adapt.row_weights, adapt.row_cap)
        return (*_backbone_of(config), placement, *batches, _encoding(config))

    def metaprompt(self, backbone: str, variant: str) -> Artifact:
        """Return the metaprompt of a backbone under a variant; distill it if it is missing.

        One process distills; others wait for it.

        Raises:
            ClinpromptError: it cannot be loaded or distilled, or was trained on a target.
        """
        key = self._metaprompt_key(backbone, variant)
        if key not in self._metaprompts:
            opened = self.open(*key)
            name = opened.config.metaprompt
            found = self._given(opened, name) if name else self._distilled(opened, key)
            check_unseen(found, tuple(data.card.name for data in self.suite.targets))
            self._metaprompts[key] = found
        return self._metaprompts[key]

    def is_awaited(self, spec: CellSpec) -> bool:
        """Return whether another process is making the metaprompt that a cell starts from."""
        if not method_of(spec.method).needs_metaprompt:
            return False
        key = self._metaprompt_key(spec.backbone, spec.variant)
        if key in self._metaprompts or self.settings[key].metaprompt:
            return False
        with self.claims.claim(metaprompt_claim(*key)) as is_free:
            return not is_free

    def help_with_metaprompt(self, spec: CellSpec) -> None:
        """Train teachers for the metaprompt that another process is making for a cell."""
        opened = self.open(*self._metaprompt_key(spec.backbone, spec.variant))
        help_with_teachers(
            self._config_of_teachers(opened),
            opened.backbone,
            self._sources_of(opened),
            workspace=opened.teacher_workspace,
            task_rows=opened.task_rows,
        )

    def train_on_sources(self, spec: CellSpec) -> None:
        """Train the method of a cell on all source tasks, if it needs that and it is not done yet.

        One process trains; others wait for it.
        """
        method = method_of(spec.method)
        if method.on_sources is None:
            return
        opened = self.open(spec.backbone, spec.variant)
        workspace = opened.source_workspace
        is_shared = workspace is not opened.workspace
        place = (spec.backbone, "" if is_shared else spec.variant)
        with self.claims.claim(f"sources of {method.name} {place}", wait=True):
            workspace.refresh()
            train_on_sources(
                method,
                opened.config,
                opened.backbone,
                self._sources_of(opened),
                workspace=workspace,
                task_rows=opened.task_rows,
            )

    def _given(self, opened: OpenVariant, name: str) -> Artifact:
        found = find_metaprompt(name, opened.config.backbone)
        check_fits(opened.backbone, found.manifest)
        opened.workspace.store.save(found)
        return found

    def _distilled(self, opened: OpenVariant, key: tuple[str, str]) -> Artifact:
        config, backbone, task_rows = opened.config, opened.backbone, opened.task_rows
        sources = self._sources_of(opened)
        with self.claims.claim(metaprompt_claim(*key), wait=True):
            opened.workspace.refresh()
            opened.teacher_workspace.refresh()
            teachers = train_teachers(
                self._config_of_teachers(opened),
                backbone,
                sources,
                workspace=opened.teacher_workspace,
                task_rows=task_rows,
            )
            return distill(
                config,
                backbone,
                sources,
                teachers=teachers,
                workspace=opened.workspace,
                task_rows=task_rows,
            )

    def _config_of_teachers(self, opened: OpenVariant) -> RunConfig:
        """Return the settings that a run's teachers are trained with.

        A shared teacher's manifest holds the settings of the run without variant.
        """
        is_shared = opened.teacher_workspace is not opened.workspace
        return self.settings[opened.config.backbone, ""] if is_shared else opened.config

    def _metaprompt_key(self, backbone: str, variant: str) -> tuple[str, str]:
        """Return the backbone and variant whose run has the metaprompt of a variant."""
        key, plain = (backbone, variant), (backbone, "")
        return plain if same_metaprompt(self.settings[key], self.settings[plain]) else key

    def _rows_of(self, config: RunConfig, loaded: Backbone) -> TaskRows:
        """Return the rows of tasks, which variants that encode them alike share."""
        for opened in self._opened.values():
            known = opened.config
            is_same = _encoding(known) == _encoding(config) and cleaned_alike(known, config)
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
            if _backbone_of(known) == _backbone_of(config):
                return opened.backbone
        self._opened.clear()
        return load_run_backbone(self._folder(*key), config, results_folder=self.folder)

    def record_tasks(self, opened: OpenVariant, tasks: Sequence[TaskData]) -> None:
        """Record the data of more tasks in a run, or check that they are still the same.

        Raises:
            RunError: they have changed since the run began.
        """
        with self.claims.claim("open", wait=True):
            opened.workspace.record_tasks(tasks)

    def _sources_of(self, opened: OpenVariant) -> tuple[TaskData, ...]:
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


def _encoding(config: RunConfig) -> Hashable:
    """Return the settings that the rows of tasks depend on, besides the backbone."""
    return (config.data.model_dump_json(), config.seed, config.prompt.length)


def _backbone_of(config: RunConfig) -> tuple[str, str, str, str]:
    """Return the settings that decide which backbone is loaded."""
    return config.backbone, config.dtype, config.quantize, config.device
