"""Sentences of the DDI corpus become marked pairs of drugs, or mentions."""

from pathlib import Path

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.readers.datasets.ddi import DdiReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.documents import View
from clinprompt.tasks.records import Record

SECRET = "zebrafishpatient"  # stands for record text: no error may show it

PAIRS = View(answer="pairs", pairs=(("brand", "drug"), ("drug", "drug")), directed=False)
TEXT = "Madeupin raises placebol and Fakerin."


def entity(number: int, offset: str, text: str, kind: str = "drug") -> str:
    return f'<entity id="T.d0.s0.e{number}" charOffset="{offset}" type="{kind}" text="{text}"/>'


def pair(first: int, second: int, rest: str) -> str:
    return f'<pair id="T.d0.s0.p0" e1="T.d0.s0.e{first}" e2="T.d0.s0.e{second}" {rest}/>'


def document(*elements: str, text: str = TEXT) -> str:
    inside = "\n".join(elements)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<document id="T.d0">\n'
        f'<sentence id="T.d0.s0" text="{text}">\n{inside}\n</sentence></document>'
    )


DRUGS = (
    entity(0, "0-7", "Madeupin"),
    entity(1, "16-23", "placebol"),
    entity(2, "29-35", "Fakerin", "brand"),
)


def read(view: View, path: Path, content: str, **settings) -> list[Record]:
    path.write_bytes(content.encode())
    (file,) = open_files(path.parent, path.name)
    return list(DdiReader(name="ddi", view=view, **settings).read(file))


def refusal(path: Path, content: str) -> str:
    with pytest.raises(DataError) as caught:
        read(PAIRS, path, content)
    message = str(caught.value)
    assert SECRET not in message
    assert message.startswith(f"{path}:3: ")
    return message


def test_offsets_include_their_last_character_and_every_pair_has_a_label(tmp_path):
    content = document(*DRUGS, pair(0, 1, 'ddi="true" type="effect"'), pair(0, 2, 'ddi="false"'))
    records = read(PAIRS, tmp_path / "a.xml", content)
    assert {record.id: (record.text, record.answer.label) for record in records} == {
        "T.d0.s0:e0-e1": ("<< Madeupin >> raises [[ placebol ]] and Fakerin.", "effect"),
        "T.d0.s0:e0-e2": ("<< Madeupin >> raises placebol and [[ Fakerin ]].", "none"),
        "T.d0.s0:e1-e2": ("Madeupin raises << placebol >> and [[ Fakerin ]].", "none"),
    }
    assert {record.group for record in records} == {"T.d0"}


def test_mention_in_pieces_is_taken_by_its_first_piece(tmp_path):
    content = document(
        entity(0, "0-4;15-22", "alpha blockers"),
        entity(1, "10-22", "beta blockers"),
        text="alpha and beta blockers",
    )
    (record,) = read(PAIRS, tmp_path / "a.xml", content)
    assert record.text == "<< alpha >> and [[ beta blockers ]]"


def test_line_break_at_the_end_of_a_sentence_is_cut_off(tmp_path):
    content = document(*DRUGS[:2], text=f"{TEXT}&#xd;&#xa;")
    (record,) = read(PAIRS, tmp_path / "a.xml", content)
    assert record.text.endswith("and Fakerin.")


def test_interaction_without_a_type_is_refused_or_takes_the_one_set(tmp_path):
    content = document(*DRUGS[:2], pair(0, 1, 'ddi="true"'))
    assert "reader.untyped" in refusal(tmp_path / "a.xml", content)
    (record,) = read(PAIRS, tmp_path / "a.xml", content, untyped="int")
    assert record.answer.label == "int"


def test_entities_are_mentions_and_a_sentence_without_drugs_makes_no_pair(tmp_path):
    (record,) = read(View(answer="entities"), tmp_path / "a.xml", document(*DRUGS))
    assert [record.text[span.start : span.end] for span in record.answer.spans] == [
        "Madeupin",
        "placebol",
        "Fakerin",
    ]
    assert read(PAIRS, tmp_path / "a.xml", document()) == []


@pytest.mark.parametrize(
    ("element", "says"),
    [
        (entity(0, "0-6", SECRET), "T.d0.s0.e0: charOffset does not point"),
        (entity(0, "0", SECRET), "must be like 4-9"),
        (f'<entity id="T.d0.s0.e0" text="{SECRET}"/>', "no attribute 'charOffset'"),
        (pair(0, 1, f'ddi="{SECRET}"'), "must be true or false"),
        (pair(0, 9, 'ddi="true" type="int"'), "'e0', which is not annotated"),
    ],
)
def test_damaged_sentence_is_named_by_file_and_line(tmp_path, element, says):
    assert says in refusal(tmp_path / "a.xml", document(element))
