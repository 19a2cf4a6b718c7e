"""One run: its folder, settings, backbone, store and log. Owns what is written there.

A run folder holds ``config.json``, ``environment.json``, ``metrics.jsonl``, ``cells.jsonl``,
``finished.json`` (what is done, by content hash), ``tasks.json`` (what the tasks hold),
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
from typing import Any

import torch

from clinprompt import __version__
from clinprompt.backbone.layers import key_value_shape, prompt_width
from clinprompt.backbone.load import Backbone, load_backbone
from clinprompt.backbone.tuners import PromptTuner
from clinprompt.batches.encode import Encoder, Row, chat_shell, make_encoder
from clinprompt.errors import RunError
from clinprompt.files import locked, write_text
from clinprompt.prompts.artifact import Artifact, Kind, Manifest
from clinprompt.prompts.decomposed import DecomposedPrompts
from clinprompt.prompts.soft import SoftPrompts
from clinprompt.prompts.store import Store
from clinprompt.runs.folder import check_backbone, check_folder, read_json
from clinprompt.runs.suite_data import Candidates, candidates, training_rows
from clinprompt.settings.run import RunConfig
from clinprompt.tasks.card import SPLITS, TASK_TYPES, TaskCard
from clinprompt.tasks.load import TaskData
from clinprompt.training.loop import PhaseFiles
from clinprompt.training.progress import Reporter, Silent
from clinprompt.training.runlog import RunLog


@dataclass
class Run:
    """A run that can be stopped at any time and goes on where it stopped.

    ``taught_in`` is another run, whose teachers are this one's too.
    """

    folder: Path
    config: RunConfig
    backbone: Backbone
    reporter: Reporter = field(default_factory=Silent)
    finished: dict[str, str] = field(default_factory=dict)
    taught_in: "Run | None" = None
    _encoded: dict[str, tuple[Row, ...]] = field(default_factory=dict)
    _candidates: dict[str, Candidates] = field(default_factory=dict)

    @cached_property
    def store(self) -> Store:
        """Return the store of everything trained in this run."""
        return Store(self.folder / "store")

    @cached_property
    def log(self) -> RunLog:
        """Return the log of metrics."""
        return RunLog(self.folder / "metrics.jsonl")

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values that name no folder of this machine."""
        values = self.config.model_dump(mode="json")
        grid = values["compare"]
        grid["backbones"] = [plain_name(name) for name in grid["backbones"]]
        return values | {name: plain_name(values[name]) for name in ("backbone", "suite")}

    def encoder(self, *, instruction: str = "") -> Encoder:
        """Return the encoder; with an instruction, that of the backbone's chat template (if any).

        Instruction and chat template come on top of the length limit, so that every method reads
        the same share of a note.
        """
        tokenizer = self.backbone.tokenizer
        is_chat = bool(instruction) and tokenizer.chat_template is not None
        shell = "".join(chat_shell(tokenizer)) if is_chat else ""
        added = tokenizer(shell + instruction, add_special_tokens=False)["input_ids"]
        return make_encoder(
            tokenizer,
            self.config.data,
            context=self.backbone.context - self.config.prompt.length,
            added_tokens=len(added),
            chat=is_chat,
        )

    def tuner(self, module: SoftPrompts | DecomposedPrompts) -> PromptTuner:
        """Return the tuner of prompts that stand where this run's prompts do."""
        return PromptTuner(module, self.config.prompt.placement)

    def training_rows(self, data: TaskData) -> tuple[Row, ...]:
        """Return a source task's training rows, encoded once; see ``suite_data.training_rows``."""
        name, settings = data.card.name, self.config
        if name not in self._encoded:
            limit, seed = settings.data.train_rows, settings.seed
            self._encoded[name] = training_rows(self.encoder(), data, limit=limit, seed=seed)
        return self._encoded[name]

    def few_rows(self, data: TaskData, count: int, *, seed: int) -> tuple[Row, ...]:
        """Return shots of a target task; see ``suite_data.Candidates``."""
        return self.candidates(data).draw(count, seed=seed)

    def candidates(self, data: TaskData) -> Candidates:
        """Return what shots of a target task are drawn from, encoded once."""
        name = data.card.name
        if name not in self._candidates:
            self._candidates[name] = candidates(self.encoder(), data)
        return self._candidates[name]

    def place(self, phase: str) -> PhaseFiles:
        """Return where a phase is written."""
        checkpoint = self.folder / "checkpoints" / f"{phase.replace('/', '__')}.safetensors"
        return PhaseFiles(phase, self.log, checkpoint, self.reporter)

    def place_of(self, phases: Sequence[str]) -> PhaseFiles:
        """Return where several phases are written that are trained side by side.

        Their checkpoint is named after the first, and by all: others never go on from it.
        """
        digest = hashlib.sha256("\n".join(phases).encode()).hexdigest()[:8]
        place = self.place(f"{phases[0]}+{digest}")
        return replace(place, phase=f"{phases[0]} and {len(phases) - 1} more")

    def forget(self, phase: str) -> None:
        """Remove the checkpoint of a phase, and of groups that it was the first of."""
        alone = self.place(phase).checkpoint
        for path in (alone, *alone.parent.glob(f"{glob.escape(alone.stem)}+*{alone.suffix}")):
            path.unlink(missing_ok=True)

    def refresh(self) -> None:
        """Read anew what is finished: another process may have finished more."""
        path = self.folder / "finished.json"
        self.finished = read_json(path) if path.is_file() else {}

    def finish(self, made: Mapping[str, Artifact]) -> None:
        """Remember that things are done, and what of them was saved, all at once."""
        with locked(self.folder, wait=True):
            self.refresh()
            self.finished |= {name: one.manifest.content_hash for name, one in made.items()}
            text = json.dumps(self.finished, indent=2) + "\n"
            write_text(self.folder / "finished.json", text)

    def claim(self, tasks: Sequence[TaskData]) -> None:
        """Remember what the tasks of this run hold, or check that they still hold it.

        Raises:
            RunError: a task's card or records have changed since the run began.
        """
        path = self.folder / "tasks.json"
        now = {data.card.name: digest_of(data) for data in tasks}
        before = read_json(path) if path.is_file() else {}
        changed = sorted(name for name in now.keys() & before.keys() if now[name] != before[name])
        if changed:
            raise RunError(
                f"{self.folder}: card or records of {', '.join(changed)} have changed since this "
                "run began; choose another --out"
            )
        write_text(path, json.dumps(before | now, indent=2) + "\n")

    def manifest(self, kind: Kind, name: str, method: str, cards: Sequence[TaskCard]) -> Manifest:
        """Return the manifest of a prompt trained in this run; its tensors fill in the hash."""
        prompt = self.config.prompt
        num_layers, num_heads, _ = key_value_shape(self.backbone.model)
        in_layers = {"num_layers": num_layers, "num_heads": num_heads}
        is_routed = kind == "metaprompt" and prompt.segment > 0
        return Manifest(
            **(in_layers if prompt.placement == "layers" else {}),
            kind=kind,
            name=name,
            method=method,
            backbone=plain_name(self.config.backbone),
            fingerprint=self.backbone.fingerprint,
            length=prompt.length,
            placement=prompt.placement,
            hidden_size=prompt_width(self.backbone.model, prompt.placement),
            rank=0 if kind == "prompt" else prompt.rank,
            segment=prompt.segment if is_routed else 0,
            types=TASK_TYPES if is_routed else (),
            tasks=tuple(card.model_dump(mode="json") for card in cards),
            settings=self.settings(),
            seed=self.config.seed,
        )


def open_run(
    folder: Path,
    config: RunConfig,
    *,
    reporter: Reporter | None = None,
    backbone: Backbone | None = None,
    above: Path | None = None,
) -> Run:
    """Start a run in a folder, or go on with the one that is there; ``backbone`` is loaded already.

    ``above`` is the folder that keeps the run's results, if not its own.

    Raises:
        RunError: the folder holds a run with other settings, or something else.
        BackboneError: the backbone cannot be loaded.
    """
    check_folder(folder, config, above=above or folder)
    backbone = backbone or backbone_of(config)
    check_backbone(folder, fingerprint=backbone.fingerprint, name=backbone.name)
    write_text(folder / "config.json", config.model_dump_json(indent=2) + "\n")
    write_text(folder / "environment.json", json.dumps(environment(backbone), indent=2) + "\n")
    run = Run(folder, config, backbone, reporter or Silent())
    run.refresh()
    return run


def backbone_of(config: RunConfig) -> Backbone:
    """Load the backbone of a run.

    Raises:
        BackboneError: it cannot be loaded.
    """
    dtype = torch.float32 if config.dtype == "float32" else torch.bfloat16
    return load_backbone(config.backbone, device=config.device, dtype=dtype)


def environment(backbone: Backbone) -> dict[str, str]:
    """Return what a result may depend on: versions, device, backbone. Never a host's name."""
    packages = ("torch", "transformers", "peft", "safetensors", "numpy")
    device = backbone.device
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "clinprompt": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "device": f"{device.type} ({place})",
        "threads": str(torch.get_num_threads()),
        "backbone": backbone.fingerprint,
    }


def digest_of(data: TaskData) -> str:
    """Return a sha256 of a task's card and records."""
    digest = hashlib.sha256(data.card.model_dump_json().encode())
    for split in SPLITS:
        for record in data.splits[split]:
            digest.update(repr(record).encode())
    return digest.hexdigest()


def plain_name(name: str) -> str:
    """Return a name as it is, a path's last part: paths name people and machines."""
    return Path(name).name if Path(name).is_absolute() or Path(name).exists() else name
