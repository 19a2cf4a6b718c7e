"""Predicted links have the types of their ends if all links of a type agree on them."""

from dataclasses import replace

import pytest
from made_cards import card_of
from pydantic import ValidationError

from clinprompt.evaluation.questions import Prediction
from clinprompt.jobs.annotate import annotate_file
from clinprompt.tasks.card import TaskCard, find_card
from clinprompt.tasks.draft.draft_task import draft_task, write_task
from clinprompt.tasks.kinds import answer_to_json, make_example, parse_answer
from clinprompt.tasks.kinds.link_ends import link_ends
from clinprompt.tasks.load import load_task
from clinprompt.tasks.records import Record, Relation, RelationsAnswer, Span

DRUG, RASH, DOSE = Span(0, 4, "DRUG"), Span(9, 13, "ADE"), Span(5, 8, "")
NOTE = "Iron and rash"
ANNOTATION = "T1\tDRUG 0 4\tIron\nT2\tADE 9 13\trash\nR1\tcauses Arg1:T1 Arg2:T2\n"


def card(**changes):
    labels = {"causes": "causes", "near": "near"}
    return card_of("re", "relations", setting="end-to-end", labels=labels, **changes)


def record(*links):
    return Record("1", {"text": NOTE}, RelationsAnswer(links))


def test_an_end_has_a_type_where_all_links_of_a_type_agree():
    records = [
        record(Relation("causes", DRUG, RASH), Relation("near", DRUG, RASH)),
        record(Relation("causes", DRUG, RASH), Relation("near", DRUG, DRUG)),
        record(Relation("at", DOSE, DOSE)),
        Record("2", {"text": NOTE}),
    ]
    assert link_ends(records) == {"causes": ("DRUG", "ADE"), "near": ("DRUG", "")}


def brat_task(folder, **other):
    """Return the card of a task of twenty notes; ``other`` are annotations by number of a note."""
    (folder / "in").mkdir(parents=True)
    for number in range(20):
        (folder / "in" / f"n{number}.txt").write_text(NOTE)
        (folder / "in" / f"n{number}.ann").write_text(other.get(f"n{number}", ANNOTATION))
    write_task(draft_task("re", folder / "in"), folder / "task")
    return find_card(str(folder / "task"))


def test_a_task_is_loaded_with_the_ends_of_its_training_links(tmp_path):
    loaded = load_task(brat_task(tmp_path), None).card
    assert loaded.ends == {"causes": ("DRUG", "ADE")}
    assert TaskCard.model_validate(loaded.model_dump(mode="json")).ends == loaded.ends
    assert load_task(find_card("practice-ner-drugs"), None).card.ends is None


def test_ends_that_a_card_states_are_kept(tmp_path):
    stated = brat_task(tmp_path).model_copy(update={"ends": {"causes": ("MEDICINE", "")}})
    assert load_task(stated, None).card.ends == {"causes": ("MEDICINE", "")}


def test_ends_of_links_with_several_types_have_none(tmp_path):
    mixed = {f"n{number}": ANNOTATION.replace("ADE", "SIGN") for number in range(0, 20, 2)}
    assert load_task(brat_task(tmp_path, **mixed), None).card.ends == {"causes": ("DRUG", "")}


def test_parsed_links_have_the_types_of_their_ends():
    typed = card(ends={"causes": ("DRUG", "ADE")})
    answer = parse_answer(typed, record(), "causes: Iron | rash\nnear: Iron | rash")
    plain = Relation("near", replace(DRUG, type=""), replace(RASH, type=""))
    assert answer == RelationsAnswer((Relation("causes", DRUG, RASH), plain))
    [shown, _] = answer_to_json(typed, record(), answer)["relations"]
    assert (shown["head"]["type"], shown["tail"]["type"]) == ("DRUG", "ADE")
    assert parse_answer(card(), record(), "near: Iron | rash").relations == (plain,)


class Echo:
    """Stands for an annotator: parses one answer to every note."""

    def __init__(self, card, said):
        self.card, self.said = card, said

    def annotate(self, records):
        answers = [parse_answer(self.card, one, self.said) for one in records]
        return [
            Prediction(make_example(self.card, one), answer, self.said, input_was_cut=False)
            for one, answer in zip(records, answers, strict=True)
        ]


@pytest.mark.parametrize("said", ["causes: Iron | rash", "none"])
def test_brat_shows_the_types_of_ends_of_predicted_links(tmp_path, said):
    (tmp_path / "n.txt").write_text(NOTE)
    typed = Echo(card(ends={"causes": ("DRUG", "ADE")}), said)
    annotate_file(typed, tmp_path / "n.txt", tmp_path / "out", form="brat")
    assert (tmp_path / "out" / "n.ann").read_text() == ("" if said == "none" else ANNOTATION)
    assert (
        (tmp_path / "out" / "annotation.conf")
        .read_text()
        .startswith(
            ("[entities]\nADE\nDRUG\n" if said == "none" else "[entities]\nDRUG\nADE\n")
            + "\n[relations]\ncauses\tArg1:DRUG, Arg2:ADE\nnear\tArg1:<ENTITY>, Arg2:<ENTITY>\n"
        )
    )


def test_ends_need_links_and_known_labels():
    with pytest.raises(ValidationError, match="ends: 'cause' is no label of the card; did you"):
        card(ends={"cause": ("DRUG", "ADE")})
    with pytest.raises(ValidationError, match="ends has no effect with answer = 'spans'"):
        card_of("ner", "spans", labels={"X": "x"}, ends={})
