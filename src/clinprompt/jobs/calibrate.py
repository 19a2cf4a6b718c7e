"""Compute the calibration of a fitted prompt for a task, and decide whether it is used."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from clinprompt.backbone.bank import Bank
from clinprompt.backbone.load import Backbone
from clinprompt.batches.encode import Encoder
from clinprompt.evaluation.calibration import Calibration, calibration_of, offset_of
from clinprompt.evaluation.metrics import score
from clinprompt.evaluation.predict import answer_questions, nothing_margins
from clinprompt.evaluation.questions import PromptUse, Question, questions
from clinprompt.prompts.artifact import Artifact
from clinprompt.runs.examples import examples_of
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import TaskCard
from clinprompt.tasks.kinds import kind_of
from clinprompt.tasks.kinds.baselines import gold_answers
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import Answer, Example, LabelAnswer
from clinprompt.training.progress import Reporter, Silent, counting_answers

NUM_INPUTS = 64  # of training records, without their answers


@dataclass(frozen=True, slots=True)
class Answering:
    """A model with one prompt of a bank, the encoder of its inputs, and who hears of progress."""

    backbone: Backbone
    encoder: Encoder
    bank: Bank
    prompt: int = 0
    reporter: Reporter = field(default_factory=Silent)

    def answers(
        self, card: TaskCard, examples: Sequence[Example], calibration: Calibration | None
    ) -> list[Answer]:
        """Return the answers to examples, corrected by a calibration if one is given."""
        asked = self._answered(card, examples, calibration)
        return [one.prediction().answer for one in asked]

    def answers_with_and_without(
        self, card: TaskCard, examples: Sequence[Example], calibration: Calibration
    ) -> tuple[list[Answer], list[Answer]]:
        """Return answers corrected by a calibration, and as they are; labels are scored once."""
        plain = self._answered(card, examples, None)
        if calibration.means:
            corrected = [one.with_calibration(calibration) for one in plain]
        else:
            corrected = self._answered(card, examples, calibration)
        with_it, without = (
            [one.prediction().answer for one in asked] for asked in (corrected, plain)
        )
        return with_it, without

    def margins(self, card: TaskCard, examples: Sequence[Example]) -> list[float]:
        """Return by how much listing nothing is preferred, in nats; see ``nothing_margins``."""
        asked = self._questions(card, examples, None)
        return nothing_margins(self.backbone, asked, self.bank, self._progress(card))

    def _answered(
        self, card: TaskCard, examples: Sequence[Example], calibration: Calibration | None
    ) -> list[Question]:
        asked = self._questions(card, examples, calibration)
        answer_questions(self.backbone, asked, self._progress(card))
        return asked

    def _questions(
        self, card: TaskCard, examples: Sequence[Example], calibration: Calibration | None
    ) -> list[Question]:
        return questions(
            self.backbone,
            self.encoder,
            examples,
            cards={card.name: card},
            bank=self.bank,
            prompts=[PromptUse(self.prompt, calibration)] * len(examples),
        )

    def _progress(self, card: TaskCard) -> Callable[[int, int], None]:
        return counting_answers(self.reporter, f"{card.name}: calibration")

    def scores(self, card: TaskCard, examples: Sequence[Example]) -> list[list[float]]:
        """Return the log-likelihood of each label of each example, in nats."""
        asked = self._answered(card, examples, None)
        return [ask.scores for question in asked for ask in question.asks]


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
    better with it. Without ``may_validate`` their answers may not be looked at, and it is not used,
    unless ``data.nothing_share`` says how many inputs list nothing.
    """
    if settings.calibration == "off":
        return None
    is_stated = settings.nothing_share is not None and bool(kind_of(data.card).allowed)
    if is_stated or settings.calibration == "on":
        return _computed(answering, data, settings, seed=seed)
    limit = settings.validation_rows if may_validate else 0
    validation = examples_of(data, "validation", limit=limit, seed=seed)
    found = _computed(answering, data, settings, seed=seed) if validation else None
    if found is None:
        return None
    answering.reporter.say(
        f"{data.card.name}: calibration: answer {len(validation)} validation records with and "
        "without it"
    )
    is_better = _is_better(answering, data.card, validation, found)
    answering.reporter.say(f"{data.card.name}: calibration: {'' if is_better else 'not '}used")
    return found if is_better else None


def _computed(
    answering: Answering, data: TaskData, settings: DataSettings, *, seed: int
) -> Calibration | None:
    """Return the calibration that the training inputs give, if they give one."""
    card, kind = data.card, kind_of(data.card)
    inputs = examples_of(data, "train", limit=NUM_INPUTS, seed=seed)
    if kind.allowed or kind.answer is LabelAnswer:
        answering.reporter.say(
            f"{card.name}: calibration: read {len(inputs)} training records, without their answers"
        )
    if kind.allowed:
        margins = answering.margins(card, inputs)
        offset = offset_of(margins, share=settings.nothing_share) if margins else 0.0
        return Calibration(nothing_offset=offset) if offset else None
    if kind.answer is not LabelAnswer or not inputs:
        return None
    # Questions may have different numbers of options; the usual number decides.
    [(usual, _)] = Counter(one.choices for one in inputs).most_common(1)
    same = [one for one in inputs if one.choices == usual]
    return calibration_of(usual, answering.scores(card, same))


def with_calibration(artifact: Artifact, calibration: Calibration | None) -> Artifact:
    """Return an artifact whose manifest has a calibration, or none."""
    found = calibration or Calibration()
    changed = {"calibration": dict(found.means), "nothing_offset": found.nothing_offset}
    manifest = artifact.manifest.model_copy(update=changed)
    return artifact.model_copy(update={"manifest": manifest})


def _is_better(
    answering: Answering, card: TaskCard, examples: Sequence[Example], calibration: Calibration
) -> bool:
    """Return whether the task's metric is better with a calibration than without."""
    both = answering.answers_with_and_without(card, examples, calibration)
    gold, labels = gold_answers([one.record for one in examples]), tuple(card.labels)
    with_it, without = (
        score(card.metric, answers, gold, labels=labels, positive=card.positive).value
        for answers in both
    )
    return with_it > without
