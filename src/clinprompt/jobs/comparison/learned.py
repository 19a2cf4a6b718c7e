"""What cells of a comparison start from, each learned once: metaprompts, methods on all sources.

Several processes may need the same one: one process learns it, the others help or wait.
"""

from dataclasses import dataclass, field

from clinprompt.backbone.load import check_fits
from clinprompt.jobs.comparison.grid import CellSpec
from clinprompt.jobs.comparison.variants import OpenVariant, Runs
from clinprompt.jobs.distill import distill, metaprompt_claim
from clinprompt.jobs.sources import train_on_sources
from clinprompt.jobs.teachers import help_with_teachers, train_teachers
from clinprompt.methods.metaprompts import check_unseen, find_metaprompt
from clinprompt.methods.same_training import same_metaprompt
from clinprompt.methods.table import method_of
from clinprompt.prompts.artifact import Artifact
from clinprompt.settings.run import RunConfig


@dataclass
class Learned:
    """What cells start from, for all backbones and variants. Owns the metaprompts found so far."""

    runs: Runs
    _metaprompts: dict[tuple[str, str], Artifact] = field(default_factory=dict)

    def metaprompt(self, backbone: str, variant: str) -> Artifact:
        """Return the metaprompt of a backbone under a variant; distill it if it is missing.

        One process distills; others wait for it.

        Raises:
            ClinpromptError: it cannot be loaded or distilled, or was trained on a target.
        """
        key = self._metaprompt_key(backbone, variant)
        if key not in self._metaprompts:
            opened = self.runs.open(*key)
            name = opened.config.metaprompt
            found = self._given(opened, name) if name else self._distilled(opened, key)
            check_unseen(found, tuple(data.card.name for data in self.runs.suite.targets))
            self._metaprompts[key] = found
        return self._metaprompts[key]

    def is_awaited(self, spec: CellSpec) -> bool:
        """Return whether another process is making the metaprompt that a cell starts from."""
        if not method_of(spec.method).needs_metaprompt:
            return False
        key = self._metaprompt_key(spec.backbone, spec.variant)
        if key in self._metaprompts or self.runs.settings[key].metaprompt:
            return False
        with self.runs.claims.claim(metaprompt_claim(*key)) as is_free:
            return not is_free

    def help_with_metaprompt(self, spec: CellSpec) -> None:
        """Train teachers for the metaprompt that another process is making for a cell."""
        opened = self.runs.open(*self._metaprompt_key(spec.backbone, spec.variant))
        help_with_teachers(
            self._config_of_teachers(opened),
            opened.backbone,
            self.runs.sources_of(opened),
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
        opened = self.runs.open(spec.backbone, spec.variant)
        workspace = opened.source_workspace
        is_shared = workspace is not opened.workspace
        place = (spec.backbone, "" if is_shared else spec.variant)
        with self.runs.claims.claim(f"sources of {method.name} {place}", wait=True):
            workspace.refresh()
            train_on_sources(
                method,
                opened.config,
                opened.backbone,
                self.runs.sources_of(opened),
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
        sources = self.runs.sources_of(opened)
        with self.runs.claims.claim(metaprompt_claim(*key), wait=True):
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
        return self.runs.settings[opened.config.backbone, ""] if is_shared else opened.config

    def _metaprompt_key(self, backbone: str, variant: str) -> tuple[str, str]:
        """Return the backbone and variant whose run has the metaprompt of a variant."""
        key, plain = (backbone, variant), (backbone, "")
        return plain if same_metaprompt(self.runs.settings[key], self.runs.settings[plain]) else key
