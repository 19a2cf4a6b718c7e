"""One file with a kind and one line in the table make a sixth kind of task."""

import json

import numpy as np
import pytest
from made_cards import card_of

from clinprompt.backbone.bank import Bank
from clinprompt.batches.encode import make_encoder
from clinprompt.errors import DataError
from clinprompt.evaluation.metrics import chance, majority, score, stored_scores, unusable_shares
from clinprompt.evaluation.predict import predict
from clinprompt.settings.groups import DataSettings
from clinprompt.tasks.card import find_card
from clinprompt.tasks.kinds import (
    KINDS,
    Kind,
    answer_to_json,
    kind_of,
    make_example,
    parse_answer,
)
from clinprompt.tasks.kinds.scores import Metric, mean
from clinprompt.tasks.load import load_task
from clinprompt.tasks.records import LabelAnswer, Unparseable

# ---- What the one file of a new kind holds: a grade from 0 to 3, scored by how near it is. ----

GRADES = ("0", "1", "2", "3")


def render_grade(card, record, answer):
    return f"grade {answer.label}"


def parse_grade(card, record, text):
    said = text.strip().casefold().removeprefix("grade").strip(" .")
    return LabelAnswer(said) if said in GRADES else Unparseable(text)


def grade_to_json(record, answer):
    return {"grade": int(answer.label)}


def grades_for(card, record):
    return GRADES


def grade_choices(card, record):
    return tuple(f"grade {grade}" for grade in GRADES)


def closeness(answers, gold, labels):
    """Give 1 for the right grade, a third less for each grade of distance, 0 for no grade."""
    earned = [
        1 - abs(int(answer.label) - int(true.label)) / 3 if isinstance(answer, LabelAnswer) else 0
        for answer, true in zip(answers, gold, strict=True)
    ]
    return "closeness of grades", np.array([(one, 1) for one in earned], dtype=np.float64)


CLOSENESS = Metric("closeness", mean, closeness)


def chance_of_grades(card, records, training, generator):
    gold = [record.answer for record in records]
    each = [CLOSENESS.score([LabelAnswer(grade)] * len(gold), gold).value for grade in GRADES]
    return float(np.mean(each))


def middle_grade(card, training):
    return LabelAnswer(sorted(answer.label for answer in training)[len(training) // 2])


GRADED = Kind(
    answer=LabelAnswer,
    render=render_grade,
    parse=parse_grade,
    to_json=grade_to_json,
    metrics=(CLOSENESS,),
    chance=chance_of_grades,
    constant=middle_grade,
    labels_in=lambda answer: {answer.label},
    labels_for=grades_for,
    choices=grade_choices,
    has_labels=False,
)

# ---- The one line in the table, and what works from then on. ----


@pytest.fixture(autouse=True)
def new_line(monkeypatch):
    monkeypatch.setitem(KINDS, ("severity", "grade"), GRADED)


CARD = """
name = "pain"
type = "severity"
answer = "grade"
title = "How strong the pain is"
metric = "closeness"
source = { repository = "own", license = "own" }
reader = { name = "jsonl", row = { fields = { text = "text" }, label = "grade" } }
files = { train = ["train.jsonl"], test = ["test.jsonl"] }
[wording]
version = 1
template = "{{ text }} Severity:"
instruction = "Grade the pain from 0 to 3."
"""


@pytest.fixture
def task(tmp_path):
    (tmp_path / "card.toml").write_text(CARD)
    for name, grades in {"train": "0223", "test": "01"}.items():
        lines = (json.dumps({"text": f"Pain {n}.", "grade": g}) for n, g in enumerate(grades))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    return load_task(find_card(str(tmp_path)), None)


def test_a_card_of_the_new_kind_is_checked_like_any_other():
    card = card_of("severity", "grade", "closeness")
    assert kind_of(card) is GRADED
    for wrong, says in (
        (("severity", "label", "accuracy"), "takes grade"),
        (("severity", "grade", "accuracy"), "takes closeness"),
        (("severty", "grade", "closeness"), "did you mean severity"),
    ):
        with pytest.raises(ValueError, match=says):
            card_of(*wrong)
    with pytest.raises(ValueError, match="labels has no effect"):
        card_of("severity", "grade", "closeness", labels={"0": "none"})


def test_its_records_are_loaded_written_and_read(task):
    record = task.splits["train"][1]
    example = make_example(task.card, record)
    assert example.input == "Pain 1. Severity:"
    assert example.target == "grade 2"
    assert parse_answer(task.card, record, example.target) == record.answer
    assert parse_answer(task.card, record, "grade 9") == Unparseable("grade 9")
    assert answer_to_json(task.card, record, record.answer) == {"grade": 2}
    assert answer_to_json(task.card, record, Unparseable("?")) == {"unparseable": "?"}


def test_an_answer_that_it_does_not_have_is_refused_when_loading(task):
    folder = task.card.path.parent
    (folder / "test.jsonl").write_text(json.dumps({"text": "x", "grade": "7"}))
    with pytest.raises(DataError, match="label '7' is not in the card"):
        load_task(task.card, None)


def test_its_answers_are_scored_against_baselines(task):
    test, training = task.splits["test"], [record.answer for record in task.splits["train"]]
    gold = [record.answer for record in test]
    # Gold 0 and 1, answered with 1 and nothing: (2/3 + 0) / 2.
    scores = score("closeness", [LabelAnswer("1"), Unparseable("?")], gold)
    assert scores.value == pytest.approx(1 / 3)
    kept = stored_scores("closeness", scores.scorer, scores.statistics.tolist())
    assert kept.value == scores.value
    # Always 2: (1/3 + 2/3) / 2. Grades 0 to 3 in turn: (5/6 + 5/6 + 1/2 + 1/6) / 4 = 7/12.
    assert majority(task.card, test, training) == pytest.approx(1 / 2)
    assert chance(task.card, test, training, np.random.default_rng(0)) == pytest.approx(7 / 12)
    assert unusable_shares(GRADED, [gold[0], Unparseable("?")]).unparseable == 1 / 2


def test_a_model_answers_a_task_of_the_new_kind(task, tiny_llama):
    encoder = make_encoder(tiny_llama.tokenizer, DataSettings())
    examples = [make_example(task.card, record) for record in task.splits["test"]]
    cards = {task.card.name: task.card}
    predictions = predict(tiny_llama, encoder, examples, cards=cards, bank=Bank())
    assert [one.answer.label in GRADES for one in predictions] == [True, True]
