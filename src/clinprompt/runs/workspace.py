"""The folder of a run: its store, its log, and what is finished. Owns what is written there.

A run folder holds ``config.json``, ``environment.json``, ``metrics.jsonl``, ``cells.jsonl``,
``finished.json`` (content hashes of what is finished), ``tasks.json`` (hashes of the tasks' data),
``checkpoints/`` and ``store/``.
"""

import glob
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch

from clinprompt.backbone.load import DTYPES, Backbone, load_backbone
from clinprompt.backbone.ranks import ranks
from clinprompt.backbone.recompute import recompute_layers
from clinprompt.errors import RunError
from clinprompt.files import locked, write_text
from clinprompt.prompts.store import Store
from clinprompt.runs.folder import check_folder, check_same_backbone, has_begun, read_json
from clinprompt.runs.task_hashes import TaskHashes, changed_message
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.load import TaskData
from clinprompt.training.checkpoint import remove_checkpoint
from clinprompt.training.loop import PhaseFiles
from clinprompt.training.progress import Reporter, Silent
from clinprompt.training.runlog import RunLog
from clinprompt.version import __version__


@dataclass
class Workspace:
    """The folder of a run that can be stopped at any time and continues where it stopped."""

    folder: Path
    reporter: Reporter = field(default_factory=Silent)
    finished: dict[str, str] = field(default_factory=dict)

    @cached_property
    def store(self) -> Store:
        """Return the store of everything trained in this run."""
        return Store(self.folder / "store")

    @cached_property
    def log(self) -> RunLog:
        """Return the log of metrics."""
        return RunLog(self.folder / "metrics.jsonl")

    def phase_files(self, phases: Sequence[str], *, settings: Sequence[str] = ()) -> PhaseFiles:
        """Return the log and the checkpoint of phases that are trained together, or of one phase.

        The checkpoint of several is named after the first, with a hash of all their names and
        settings: only the same phases with the same settings continue from it.
        """
        first, *others = phases
        if not others:
            return PhaseFiles(first, self.log, self._checkpoint(first), self.reporter)
        digest = hashlib.sha256("\n".join([*phases, *settings]).encode()).hexdigest()[:8]
        shared = self.phase_files([f"{first}+{digest}"])
        return replace(shared, phase=f"{first} and {len(others)} more")

    def forget(self, phase: str) -> None:
        """Remove the checkpoint of a phase, and those of groups whose first phase it is."""
        alone = self._checkpoint(phase)
        groups = f"{glob.escape(alone.stem)}+*{alone.suffix}"
        found = [*alone.parent.glob(groups), *alone.parent.glob(f"{groups}.before")]
        for path in (alone, *found):
            remove_checkpoint(path.with_name(path.name.removesuffix(".before")))

    def refresh(self) -> None:
        """Read again what is finished, as another process may have finished more."""
        path = self.folder / "finished.json"
        self.finished = read_json(path) if path.is_file() else {}

    def finish(self, made: Mapping[str, str]) -> None:
        """Record content hashes of what is finished, by name, all in one write."""
        with locked(self.folder / ".lock", wait=True):
            self.refresh()
            self.finished |= made
            text = json.dumps(self.finished, indent=2) + "\n"
            write_text(self.folder / "finished.json", text)

    def record_tasks(self, tasks: Sequence[TaskData]) -> None:
        """Record a hash of the tasks' data, or check that the data are still the same.

        They may change as long as nothing was trained or scored.

        Raises:
            RunError: a task's card or records have changed since the run began.
        """
        path = self.folder / "tasks.json"
        now = {data.card.name: TaskHashes.of(data) for data in tasks}
        saved = read_json(path) if path.is_file() else {}
        before = {name: TaskHashes.read(value, path) for name, value in saved.items()}
        changed = {
            name: hashes.changed(before[name])
            for name, hashes in now.items()
            if name in before and hashes.whole != before[name].whole
        }
        if changed and has_begun(self.folder, self.folder):
            raise RunError(changed_message(self.folder, changed))
        every = {name: hashes.as_json() for name, hashes in (before | now).items()}
        write_text(path, json.dumps(every, indent=2) + "\n")

    def _checkpoint(self, phase: str) -> Path:
        return self.folder / "checkpoints" / f"{phase.replace('/', '__')}.safetensors"


def open_workspace(
    folder: Path,
    config: RunConfig,
    backbone: Backbone,
    *,
    reporter: Reporter | None = None,
    results_folder: Path | None = None,
) -> Workspace:
    """Start a run in a folder, or continue the run in it.

    ``results_folder`` keeps the results of the run, if that is not ``folder`` itself.

    Raises:
        RunError: the folder holds a run with other settings or another backbone, or something else.
    """
    check_folder(folder, config, results_folder=results_folder or folder)
    check_same_backbone(folder, fingerprint=backbone.fingerprint, name=backbone.name)
    write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
    write_text(folder / "environment.json", json.dumps(environment(backbone), indent=2) + "\n")
    workspace = Workspace(folder, reporter or Silent())
    workspace.refresh()
    return workspace


def load_run_backbone(
    folder: Path, config: RunConfig, *, results_folder: Path | None = None
) -> Backbone:
    """Load the backbone of a run, after checking that its folder may hold the run.

    Raises:
        RunError: the folder holds a run with other settings, or something else.
        BackboneError: the backbone cannot be loaded.
        SettingError: it is to be divided over processes, but there is one process only.
    """
    check_folder(folder, config, results_folder=results_folder or folder)
    backbone = load_backbone(
        config.backbone,
        device=config.device,
        dtype=DTYPES[config.dtype],
        quantize=config.quantize,
        tensor_parallel=config.tensor_parallel,
    )
    if config.gradient_checkpointing:
        recompute_layers(backbone.model)
    return backbone


def environment(backbone: Backbone) -> dict[str, str]:
    """Return what a result may depend on: versions, device, backbone. Never a host's name."""
    packages = ("torch", "transformers", "peft", "safetensors", "numpy")
    device, num_processes = backbone.device, ranks().size
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "clinprompt": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "device": f"{device.type} ({chip})",
        "threads": str(torch.get_num_threads()),
        **({"processes": str(num_processes)} if num_processes > 1 else {}),
        "backbone": backbone.fingerprint,
    }
