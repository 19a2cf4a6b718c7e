"""Open the runs behind a comparison: one for each backbone and variant, each when first needed.

The plain run lies in the comparison's own folder, the others in folders below it. What two of them
would train alike (teachers, the whole metaprompt) is trained once, in the plain run.
"""

from dataclasses import dataclass, field
from pathlib import Path

from clinprompt.backbone.load import Backbone, check_fits
from clinprompt.errors import SettingError
from clinprompt.files import Claims
from clinprompt.jobs.distill import distill, teach
from clinprompt.methods.metaprompts import (
    check_unseen,
    find_metaprompt,
    same_metaprompt,
    same_teachers,
    shaped,
)
from clinprompt.prompts.artifact import Artifact
from clinprompt.runs.folder import check_folder
from clinprompt.runs.run import Run, backbone_of, open_run, plain_name
from clinprompt.runs.suite_data import SuiteData, check_suite, load_suite
from clinprompt.settings.run import RunConfig
from clinprompt.training.progress import Reporter


@dataclass
class Runs:
    """The runs of a comparison. Owns what they share: the loaded backbone, suites, claims."""

    folder: Path
    config: RunConfig
    suite: SuiteData
    mirror: Path | None
    claims: Claims
    reporter: Reporter
    _runs: dict[tuple[str, str], Run] = field(default_factory=dict)
    _metaprompts: dict[tuple[str, str], Artifact] = field(default_factory=dict)
    _suites: dict[str, SuiteData] = field(default_factory=dict)

    def run(self, backbone: str = "", variant: str = "") -> Run:
        """Return the run of a backbone ("": the config's own) under a variant ("": none).

        Raises:
            RunError: its folder holds a run with other settings.
            BackboneError: the backbone cannot be loaded.
        """
        key = (backbone or self.config.backbone, variant)
        if key not in self._runs:
            config = shaped(self.config, *key)
            with self.claims.claim("open", wait=True):
                loaded = self._loaded(config)
                run = open_run(
                    self._folder(*key),
                    config,
                    reporter=self.reporter,
                    backbone=loaded,
                    above=self.folder,
                )
                if not variant:
                    run.claim([*self.suite.sources, *self.suite.targets])
            self._runs[key] = run
            plain = shaped(self.config, key[0])
            if variant and not config.metaprompt and same_teachers(config, plain):
                run.taught_in = self.run(key[0])  # after the claim, which it makes again
        return self._runs[key]

    def check(self, backbone: str, variant: str) -> None:
        """Check that what is there of a run came from the same settings; loads nothing.

        Raises:
            RunError: it did not, or its folder holds something else.
        """
        check_folder(
            self._folder(backbone, variant),
            shaped(self.config, backbone, variant),
            above=self.folder,
        )

    def metaprompt(self, backbone: str = "", variant: str = "") -> Artifact:
        """Return the metaprompt of a backbone under a variant; distill it if it is not there.

        One process distills; others wait for it.

        Raises:
            ClinpromptError: it cannot be loaded or distilled, or has seen a target.
        """
        key = (backbone or self.config.backbone, variant)
        if same_metaprompt(shaped(self.config, *key), shaped(self.config, key[0])):
            key = (key[0], "")
        if key not in self._metaprompts:
            run = self.run(*key)
            targets = tuple(data.card.name for data in self.suite.targets)
            if run.config.metaprompt:
                found = find_metaprompt(run.config.metaprompt, plain_name(run.config.backbone))
                check_fits(run.backbone, found.manifest)
                run.store.save(found)
            else:
                found = self._distilled(run, key)
            check_unseen(found, targets)
            self._metaprompts[key] = found
        return self._metaprompts[key]

    def _distilled(self, run: Run, key: tuple[str, str]) -> Artifact:
        teaching, sources = run.taught_in or run, self._sources(run.config).sources
        taught_in = (key[0], "") if run.taught_in else key
        with self.claims.claim(f"teachers {taught_in}", wait=True):
            teaching.refresh()
            teach(teaching, sources)
        with self.claims.claim(f"metaprompt {key}", wait=True):
            run.refresh()
            return distill(run, sources, teaching=teaching)

    def _folder(self, backbone: str, variant: str) -> Path:
        folder = self.folder
        if backbone != self.config.backbone:
            folder = folder / "backbones" / plain_name(backbone).replace("/", "--")
        return folder / "variants" / variant if variant else folder

    def _loaded(self, config: RunConfig) -> Backbone:
        """Return the backbone; only one at a time is kept in memory."""
        for run in self._runs.values():
            known = (run.config.backbone, run.config.dtype, run.config.device)
            if known == (config.backbone, config.dtype, config.device):
                return run.backbone
        self._runs.clear()
        return backbone_of(config)

    def _sources(self, config: RunConfig) -> SuiteData:
        """Return the suite whose sources a run learns from.

        Raises:
            SettingError: a variant's suite has other targets, which its sources may have seen.
        """
        if (config.suite, config.data) == (self.config.suite, self.config.data):
            return self.suite
        key = f"{config.suite} {config.data}"
        if key not in self._suites:
            suite = load_suite(config.suite, config.data, self.mirror)
            check_suite(suite, config)
            lacking = {d.card.name for d in self.suite.targets} - {
                d.card.name for d in suite.targets
            }
            if lacking:
                raise SettingError(
                    f"suite {config.suite} has not the target {min(lacking)} of suite "
                    f"{self.config.suite}, so its sources were not cleaned of it; add it there"
                )
            self._suites[key] = suite
        return self._suites[key]
