"""Measure how much a prompt tells about the rows that it was trained on, before it is shared.

The likelihood-ratio attack (arXiv 2112.03570), in its online variant: shadow prompts are trained
like the prompt, on other rows. Each row has a loss with shadows that were trained on it and with
those that were not, and the prompt's own loss is compared with both. The offline variant uses only
shadows that were not trained on a row. It is weaker, and meant for rows that are not known before
the shadows are trained. Here all rows are known, so the online variant costs nothing more.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clinprompt.backbone.bank import Bank, make_bank
from clinprompt.backbone.load import check_fits, load_backbone_of
from clinprompt.errors import SettingError, option
from clinprompt.evaluation.statistics.membership import (
    AttackResult,
    attack,
    confidence,
    likelihood_ratios,
)
from clinprompt.files import write_text
from clinprompt.jobs.fit_method import bank_of, steps_of
from clinprompt.jobs.provenance import metaprompt_in_run, training_config
from clinprompt.jobs.shadows import Division, Pool, Shadow, ShadowSpec, pool_of, train_shadows
from clinprompt.methods.method import Start
from clinprompt.methods.table import METHODS
from clinprompt.prompts.artifact import Manifest
from clinprompt.prompts.store import open_prompt
from clinprompt.runs.folder import check_folder
from clinprompt.runs.task_rows import task_rows_of
from clinprompt.runs.workspace import open_workspace
from clinprompt.settings.defaults import SHADOWS
from clinprompt.tasks.load import TaskData
from clinprompt.training.progress import Reporter
from clinprompt.training.row_losses import row_losses

LEAST_SHADOWS = 4
RESULT_FILE = "audit.json"
TOGETHER = 8  # shadows trained side by side, which takes less time than one after the other


@dataclass(frozen=True, slots=True)
class Auditing:
    """How to audit: the number of shadows, and where the backbone is and computes."""

    num_shadows: int = SHADOWS
    backbone: str = ""
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found. ``control`` is the same attack on the prompt before it was trained.

    ``num_members`` rows were trained on and ``num_others`` were not. ``num_left_out`` rows are
    neither: they only chose the best state, or no shadow of one kind has them. Losses are means
    over rows, in nats.
    """

    prompt: str
    content_hash: str
    task: str
    method: str
    shots: int
    steps: int
    num_shadows: int
    num_members: int
    num_others: int
    num_left_out: int
    loss_of_members: float
    loss_of_others: float
    attack: AttackResult
    control: AttackResult

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def audit_prompt(
    folder: Path, path: Path, data: TaskData, wanted: Auditing, *, reporter: Reporter
) -> Audit:
    """Audit the prompt saved at ``path`` on the training rows of its task; return what was found.

    ``folder`` is that of the audit. It keeps each finished shadow, so a stopped audit continues,
    and the result as ``audit.json``. The prompt must be in the folder of the run that trained it.

    Raises:
        ArtifactError: the prompt, its run or its metaprompt is missing, or is of another kind.
        DataError: the task's records changed since the training, or there are too few rows.
        SettingError: the task is not that of the prompt, or there are too few shadows.
        RunError: the folder holds something else, or cannot be written.
    """
    artifact, vectors = open_prompt(path)
    manifest = artifact.manifest
    if wanted.num_shadows < LEAST_SHADOWS:
        raise SettingError(
            f"{option('shadows')} is {wanted.num_shadows}; give at least {LEAST_SHADOWS}"
        )
    config = training_config(path, manifest, data)
    place = {"backbone": wanted.backbone or config.backbone, "device": wanted.device}
    config = config.model_copy(update=place)
    method = METHODS[manifest.method]
    metaprompt = metaprompt_in_run(path, manifest) if method.needs_metaprompt else None
    check_folder(folder, config, results_folder=folder)
    backbone = load_backbone_of(manifest, wanted.backbone, device=wanted.device, dtype=config.dtype)
    check_fits(backbone, manifest)
    workspace = open_workspace(folder, config, backbone, reporter=reporter)
    workspace.record_tasks([data])
    found = task_rows_of(config, backbone).candidates(data)
    pool = pool_of(found, manifest.shots, seed=manifest.seed)
    start = Start(
        config, backbone, data.card, seed=manifest.seed, metaprompt=metaprompt, say=reporter.say
    )
    spec = ShadowSpec(method, start, manifest.content_hash[:16])
    shadows = train_shadows(
        spec, pool, workspace, num_shadows=wanted.num_shadows, together=TOGETHER
    )
    with torch.inference_mode():
        bank = make_bank(backbone.model, vectors[None].to(backbone.device), manifest.placement)
    audit = _audit(spec, pool, shadows, manifest, bank)
    write_text(folder / RESULT_FILE, json.dumps(audit.to_dict(), indent=2) + "\n")
    return audit


def _audit(
    spec: ShadowSpec, pool: Pool, shadows: list[Shadow], manifest: Manifest, bank: Bank
) -> Audit:
    """Return the result of the attack on a prompt and on the prompt before it was trained."""
    backbone, seed = spec.start.backbone, manifest.seed
    own = spec.division(pool, pool.drawn, seed)
    losses = np.array(row_losses(backbone, bank, pool.rows))
    test = _Test.of(pool, shadows, own)
    return Audit(
        prompt=manifest.title,
        content_hash=manifest.content_hash,
        task=spec.start.card.name,
        method=manifest.method,
        shots=manifest.shots,
        steps=steps_of(spec.method, spec.start.config.adapt, manifest.shots),
        num_shadows=len(shadows),
        num_members=int(test.is_member.sum()),
        num_others=int((~test.is_member).sum()),
        num_left_out=len(pool.rows) - len(test.is_member),
        loss_of_members=float(losses[test.usable][test.is_member].mean()),
        loss_of_others=float(losses[test.usable][~test.is_member].mean()),
        attack=test.attack(losses, seed),
        control=test.attack(_losses_at_start(spec, pool), seed),
    )


def _losses_at_start(spec: ShadowSpec, pool: Pool) -> NDArray[np.float64]:
    """Return the loss of each row with the prompt that training starts from.

    Some starts depend on the rows that are trained on (``adapt.routing = "nearest"``).
    """
    start = replace(spec.start, rows=[pool.rows[number] for number in pool.drawn])
    with spec.method.started(start) as (tuner, _):
        bank = bank_of(spec.start.backbone, [tuner])
        return np.array(row_losses(spec.start.backbone, bank, pool.rows))


@dataclass(frozen=True, slots=True)
class _Test:
    """The rows [N] that the attack is tested on, and what the shadows [S, N] tell of them.

    ``usable`` are the numbers of these rows in the pool.
    """

    usable: NDArray[np.int64]
    is_member: NDArray[np.bool_]
    shadows: NDArray[np.float64]
    trained: NDArray[np.bool_]
    held: NDArray[np.bool_]

    @classmethod
    def of(cls, pool: Pool, shadows: list[Shadow], own: Division) -> "_Test":
        """Return the test of rows that shadows of both kinds have."""
        size = len(pool.rows)
        trained = np.stack([_flags(size, shadow.trained) for shadow in shadows])
        held = np.stack([_flags(size, shadow.held) for shadow in shadows])
        has_both = trained.any(axis=0) & (~trained & ~held).any(axis=0)
        [usable] = np.nonzero(has_both & ~_flags(size, own.held))
        losses = np.array([shadow.losses for shadow in shadows])
        return cls(
            usable,
            _flags(size, own.trained)[usable],
            confidence(losses[:, usable]),
            trained[:, usable],
            held[:, usable],
        )

    def attack(self, losses: NDArray[np.float64], seed: int) -> AttackResult:
        """Return how well the attack does on a prompt with these losses of the pool's rows."""
        scores = likelihood_ratios(
            confidence(losses[self.usable]), self.shadows, self.trained, self.held
        )
        members, others = scores[self.is_member], scores[~self.is_member]
        return attack(members, others, np.random.default_rng(seed))


def _flags(size: int, chosen: tuple[int, ...]) -> NDArray[np.bool_]:
    flags = np.zeros(size, dtype=np.bool_)
    flags[list(chosen)] = True
    return flags
