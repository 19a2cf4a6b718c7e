"""Compute the calibration of a fitted prompt for a task, and decide whether it is used."""

from collections.abc import Sequence
from dataclasses import dataclass

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Encoder
from clinprompt.evaluation.calibration import Calibration, calibration_of
from clinprompt.evaluation.metrics import score
from clinprompt.evaluation.predict import label_scores
from clinprompt.prompts.artifact import Artifact
from clinprompt.runs.task_rows import examples_of
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of, parse_answer
from clinprompt.tasks.kinds.baselines import gold_answers
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Example, LabelAnswer

NUM_INPUTS = 64  # of training records, without their answers


@dataclass(frozen=True, slots=True)
class Answering:
    """A model with one prompt of a bank, and the encoder of its inputs."""

    backbone: Backbone
    encoder: Encoder
    bank: Bank
    prompt: int = 0

    def scores(self, card: TaskCard, examples: Sequence[Example]) -> list[list[float]]:
        """Return the log-likelihood of each label of each example, in nats."""
        return label_scores(
            self.backbone,
            self.encoder,
            examples,
            cards={card.name: card},
            bank=self.bank,
            prompt=self.prompt,
        )


def calibrate(
    answering: Answering,
    data: TaskData,
    settings: DataSettings,
    *,
    seed: int,
    may_validate: bool,
) -> Calibration | None:
    """Return the calibration of a prompt for a task, or None if it should not be used.

    It is computed from the inputs of at most 64 training records. ``data.calibration`` says whether
    it is used. If that is ``auto``, it is used if the task's metric on the validation records is
    better with it. Without ``may_validate`` their answers may not be looked at, and it is not used.
    """
    card, mode = data.card, settings.calibration
    if kind_of(card).answer is not LabelAnswer or not card.labels or mode == "off":
        return None
    limit = settings.validation_rows if may_validate else 0
    validation = examples_of(data, "validation", limit=limit, seed=seed)
    inputs = examples_of(data, "train", limit=NUM_INPUTS, seed=seed)
    if not inputs or (mode == "auto" and not validation):
        return None
    found = calibration_of(inputs[0].choices, answering.scores(card, inputs))
    if mode == "on" or _is_better(card, validation, answering.scores(card, validation), found):
        return found
    return None


def with_calibration(artifact: Artifact, calibration: Calibration | None) -> Artifact:
    """Return an artifact whose manifest has a calibration, or none."""
    means = dict(calibration.means) if calibration else {}
    manifest = artifact.manifest.model_copy(update={"calibration": means})
    return artifact.model_copy(update={"manifest": manifest})


def _is_better(
    card: TaskCard,
    examples: Sequence[Example],
    scores: Sequence[Sequence[float]],
    calibration: Calibration,
) -> bool:
    """Return whether the task's metric is better with a calibration than without."""
    changed = [
        calibration.corrected(one.choices, own) for one, own in zip(examples, scores, strict=True)
    ]
    return _value(card, examples, changed) > _value(card, examples, scores)


def _value(card: TaskCard, examples: Sequence[Example], scores: Sequence[Sequence[float]]) -> float:
    answers = [
        parse_answer(card, one.record, one.choices[own.index(max(own))])
        for one, own in zip(examples, scores, strict=True)
    ]
    gold = gold_answers([one.record for one in examples])
    labels = tuple(card.labels)
    return score(card.metric, answers, gold, labels=labels, positive=card.positive).value
