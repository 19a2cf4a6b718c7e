"""A calibration is used if it was asked for, or if it helps on answers that may be looked at."""

from dataclasses import replace

import pytest
from made_cards import card_of

from clinprompt.backbone.bank import Bank
from clinprompt.batches.encode import make_encoder
from clinprompt.evaluation.calibration import calibration_of
from clinprompt.jobs.calibrate import Answering, calibrate
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.kinds import make_example
from clinprompt.tasks.load import TaskData
from clinprompt.tasks.records import LabelAnswer, Record, SpansAnswer, TextAnswer

CARD = card_of("nli", "label", labels={"1": "yes", "0": "no"})
NOTES = [f"{word} {number}" for word in ("Pain", "No pain", "Fever?") for number in range(4)]


def records(answers):
    return tuple(
        Record(str(number), {"text": text}, answer)
        for number, (text, answer) in enumerate(zip(NOTES, answers, strict=True))
    )


@pytest.fixture
def answering(tiny_llama, random_models_list_mentions):
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


def test_a_task_with_free_text_has_none(answering):
    card = card_of("summarization", "text")
    train = records([TextAnswer("Pain.")] * len(NOTES))
    assert found(answering, {"train": train}, "on", card=card) is None


def test_letters_are_calibrated_by_questions_with_the_usual_number_of_options(answering):
    card = card_of("qa", "choice")
    questions = tuple(
        Record(str(n), {"text": note}, LabelAnswer("A"), options=("a", "b", "c")[: 3 - n // 9])
        for n, note in enumerate(NOTES)
    )
    calibration = found(answering, {"train": questions}, "on", card=card)
    assert set(calibration.means) == {"A", "B", "C"}
    assert calibration == found(answering, {"train": questions[:9]}, "on", card=card)


DRUGS = card_of("ner", "spans", labels={"drug": "drug"})


def nothing_said(answering, calibration):
    """Return whether a model lists nothing for each note."""
    examples = [make_example(DRUGS, Record("1", {"text": note})) for note in NOTES]
    return [not one.spans for one in answering.answers(DRUGS, examples, calibration)]


def listing(answers):
    """Return training and validation records; only the latter have answers that matter."""
    given = {"train": [SpansAnswer(())] * len(NOTES), "validation": answers}
    return {split: records(own) for split, own in given.items()}


def test_listing_nothing_is_corrected_by_its_mean_margin(answering):
    examples = [make_example(DRUGS, Record("1", {"text": note})) for note in NOTES]
    margins = answering.margins(DRUGS, examples)
    assert len(margins) == len(NOTES)
    assert [margin > 0 for margin in margins] == nothing_said(answering, None)
    calibration = found(answering, listing([SpansAnswer(())] * len(NOTES)), "on", card=DRUGS)
    assert calibration.nothing_offset == pytest.approx(sum(margins) / len(margins))
    expected = [margin > calibration.nothing_offset for margin in margins]
    assert nothing_said(answering, calibration) == expected != nothing_said(answering, None)


def test_validation_answers_decide_whether_listing_nothing_is_corrected(answering):
    calibration = found(answering, listing([SpansAnswer(())] * len(NOTES)), "on", card=DRUGS)
    examples = [make_example(DRUGS, Record("1", {"text": note})) for note in NOTES]
    for right, expected in ((calibration, calibration), (None, None)):
        splits = listing(answering.answers(DRUGS, examples, right))
        assert found(answering, splits, card=DRUGS) == expected
        assert found(answering, splits, card=DRUGS, may_validate=False) is None


def test_the_stated_share_of_inputs_lists_nothing(answering):
    for share, number in {0.0: 0, 0.25: 3, 0.5: 6, 1.0: 12}.items():
        calibration = calibrate(
            answering,
            TaskData(DRUGS, {"train": records([SpansAnswer(())] * len(NOTES))}),
            DataSettings(nothing_share=share),
            seed=0,
            may_validate=False,
        )
        assert sum(nothing_said(answering, calibration)) == number


class Heard:
    """A reporter that keeps what it hears: messages, and the answers of each phase."""

    def __init__(self):
        self.messages, self.phases = [], []

    def begin(self, what, *, total, done=0):
        self.phases.append([what, total, done])

    def advance(self, **_):
        self.phases[-1][2] += 1

    def say(self, message):
        self.messages.append(message)


@pytest.mark.parametrize(("card", "num_phases"), [(CARD, 2), (DRUGS, 3)])
def test_each_phase_is_reported_until_its_last_answer(answering, card, num_phases):
    """Labels are scored once for both, listings are answered with and without the calibration."""
    empty = LabelAnswer("1") if card is CARD else SpansAnswer(())
    splits = {split: records([empty] * len(NOTES)) for split in ("train", "validation")}
    heard = Heard()
    found(replace(answering, reporter=heard), splits, card=card)
    assert heard.phases == [[f"{card.name}: calibration", len(NOTES), len(NOTES)]] * num_phases
    assert [message.split(": ")[2].split()[0] for message in heard.messages[:2]] == [
        "read",
        "answer",
    ]
    assert heard.messages[2].endswith("used")
