"""Tables that are taken out have the note, its answer and what the model had said, and no more."""

import csv
import io
import json

from clinprompt.serving.teaching.answer_rows import Answered
from clinprompt.serving.teaching.new_card import NewTask, card_text, parse_card
from clinprompt.serving.teaching.take_out import answers_file
from clinprompt.tasks.records import (
    LabelAnswer,
    Record,
    Relation,
    RelationsAnswer,
    Span,
    SpansAnswer,
    TextAnswer,
    Unparseable,
)

NOTE = {"text": "Takes zinc, iron."}
ZINC, IRON = Span(6, 10, "DRUG"), Span(12, 16, "DRUG")


def card_of(kind):
    labels = () if kind == "qa" else (("DRUG", "drug"), ("NOT", "no drug"))
    return parse_card(card_text(NewTask("made", kind, labels)))


def table(kind, *given):
    taken = answers_file(card_of(kind), given, "csv")
    return list(csv.DictReader(io.StringIO(taken.content.decode())))


def lines(kind, *given):
    taken = answers_file(card_of(kind), given, "jsonl")
    return [json.loads(line) for line in taken.content.decode().splitlines()]


def test_a_row_of_a_label_task_has_the_text_the_label_and_what_the_model_had_said():
    record = Record("7", NOTE, LabelAnswer("NOT"))
    given = Answered(record, LabelAnswer("DRUG"), {"label": "DRUG", "probability": 0.7}, "abc")
    row = {"id": "7", "text": NOTE["text"], "label": "NOT", "said": "DRUG", "prompt": "abc"}
    assert table("classification", given) == [row]
    [line] = lines("classification", given)
    assert line == {**row, "task": "made", "said": {"label": "DRUG", "probability": 0.7}}


def test_answers_of_which_nothing_is_known_have_no_columns_for_it():
    fields = {"question": "Which?", "context": "Takes zinc."}
    row = {"id": "7", **fields, "answer": "zinc"}
    given = Answered(Record("7", fields, TextAnswer("zinc")))
    assert table("qa", given) == [row]
    assert lines("qa", given) == [{**row, "task": "made"}]


def test_a_mention_says_whether_it_is_right_and_whether_the_model_had_it():
    both = Answered(Record("1", NOTE, SpansAnswer((ZINC, IRON))), SpansAnswer((IRON,)), {}, "abc")
    nothing = Answered(Record("2", NOTE, SpansAnswer(())), SpansAnswer(()), {}, "abc")
    wrong = Answered(Record("3", NOTE, SpansAnswer(())), SpansAnswer((ZINC,)), {}, "abc")
    other = Answered(Record("4", NOTE, SpansAnswer((ZINC,))), SpansAnswer((IRON,)), {}, "abc")
    unread = Answered(Record("5", NOTE, SpansAnswer(())), Unparseable("??"), {}, "abc")
    rows = table("ner", both, nothing, wrong, other, unread)
    names = ("id", "mention", "start", "right", "said")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("1", "zinc", "6", "yes", "no"),
        ("1", "iron", "12", "yes", "yes"),
        ("2", "", "", "", ""),
        ("3", "zinc", "6", "no", "yes"),
        ("4", "zinc", "6", "yes", "no"),
        ("4", "iron", "12", "no", "yes"),
        ("5", "", "", "", ""),
    ]
    assert {row["text"] for row in rows} == {NOTE["text"]}
    assert {row["prompt"] for row in rows} == {"abc"}


def test_a_link_that_only_the_model_had_is_no_right_one():
    link, other = Relation("NOT", ZINC, IRON), Relation("NOT", IRON, ZINC)
    record = Record("1", NOTE, RelationsAnswer((link,)))
    given = Answered(record, RelationsAnswer((other,)), {}, "abc")
    first, second = table("re", given)
    assert (first["head_text"], first["right"], first["said"]) == ("zinc", "yes", "no")
    assert (second["head_text"], second["right"], second["said"]) == ("iron", "no", "yes")


def test_a_link_has_both_ends():
    link = RelationsAnswer((Relation("NOT", ZINC, IRON),))
    [row] = table("re", Answered(Record("1", NOTE, link)))
    assert (row["label"], row["head_text"], row["tail_text"]) == ("NOT", "zinc", "iron")
    assert all(row.values())


def test_what_a_model_wrote_beside_is_counted():
    lost = Answered(Record("1", NOTE, SpansAnswer((ZINC,), ("gold",))))
    unread = Answered(Record("2", NOTE, Unparseable("??")))
    first, second = table("ner", lost, unread)
    assert (first["ungrounded"], first["unparseable"]) == ("1", "")
    assert (second["ungrounded"], second["unparseable"]) == ("", "??")
    [row] = table("classification", unread)
    assert (row["label"], row["unparseable"]) == ("", "??")


def test_a_field_with_the_name_of_a_column_replaces_nothing():
    fields = {"id": "A-1", "label": "on a bottle", "text": "Zinc."}
    [row] = table("classification", Answered(Record("7", fields, LabelAnswer("DRUG"))))
    assert row == {
        "id": "7",
        "note_id": "A-1",
        "note_label": "on a bottle",
        "note_text": "Zinc.",
        "label": "DRUG",
    }


def test_options_are_a_column_only_where_notes_have_them():
    record = Record("7", NOTE, LabelAnswer("DRUG"), ("zinc", "iron"))
    [row] = table("classification", Answered(record))
    assert json.loads(row["options"]) == ["zinc", "iron"]
    assert lines("classification", Answered(record))[0]["options"] == ["zinc", "iron"]
