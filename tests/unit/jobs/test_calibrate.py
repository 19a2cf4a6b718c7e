"""A calibration is used if it was asked for, or if it helps on answers that may be looked at."""

import pytest
from made_cards import card_of

from clinprompt.backbone.bank import Bank
from clinprompt.batches.encode import make_encoder
from clinprompt.evaluation.calibration import calibration_of
from clinprompt.jobs.calibrate import Answering, calibrate
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import LabelAnswer, Record, SpansAnswer

CARD = card_of("nli", "label", labels={"1": "yes", "0": "no"})
NOTES = [f"{word} {number}" for word in ("Pain", "No pain", "Fever?") for number in range(4)]


def records(answers):
    return tuple(
        Record(str(number), {"text": text}, answer)
        for number, (text, answer) in enumerate(zip(NOTES, answers, strict=True))
    )


@pytest.fixture
def answering(tiny_llama):
    encoder = make_encoder(tiny_llama.tokenizer, DataSettings())
    return Answering(tiny_llama, encoder, Bank())


def found(answering, splits, mode="auto", *, card=CARD, may_validate=True):
    return calibrate(
        answering,
        TaskData(card, splits),
        DataSettings(calibration=mode),
        seed=0,
        may_validate=may_validate,
    )


def scores_of(answering):
    examples = [make_example(CARD, Record("1", {"text": note})) for note in NOTES]
    return answering.scores(CARD, examples)


def said(answering, calibration):
    """Return the label that a model says to each note, with or without a calibration."""
    answers = []
    for own in scores_of(answering):
        one = calibration.corrected(("yes", "no"), own) if calibration else own
        answers.append(LabelAnswer("1" if one[0] >= one[1] else "0"))
    return answers


def splits_of(answers):
    unlike = [LabelAnswer("1")] * len(NOTES)  # never looked at
    return {"train": records(unlike), "validation": records(answers)}


def test_auto_uses_it_if_validation_answers_agree_more_with_it(answering):
    expected = calibration_of(("yes", "no"), scores_of(answering))
    assert said(answering, expected) != said(answering, None)
    assert found(answering, splits_of(said(answering, expected))) == expected
    assert found(answering, splits_of(said(answering, None))) is None


def test_answers_that_may_not_be_looked_at_do_not_decide(answering):
    expected = calibration_of(("yes", "no"), scores_of(answering))
    splits = splits_of(said(answering, expected))
    assert found(answering, splits, may_validate=False) is None
    assert found(answering, {"train": splits["train"]}) is None
    assert found(answering, splits, "off") is None
    assert found(answering, splits, "on", may_validate=False) == expected


def test_answers_of_the_inputs_do_not_matter(answering):
    yes, no = (records([LabelAnswer(label)] * len(NOTES)) for label in "10")
    assert found(answering, {"train": yes}, "on") == found(answering, {"train": no}, "on")


def test_a_task_without_labels_has_none(answering):
    card = card_of("ner", "spans", labels={"drug": "drug"})
    train = records([SpansAnswer(())] * len(NOTES))
    assert found(answering, {"train": train}, "on", card=card) is None
