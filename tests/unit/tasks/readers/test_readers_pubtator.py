"""PubTator documents become mentions, links or marked pairs of concepts."""

from pathlib import Path

import pytest

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.documents import View
from clinprompt.tasks.readers.generic.pubtator import PubtatorReader
from clinprompt.tasks.records import LabelAnswer, Record, Relation, Span

SECRET = "zebrafishpatient"  # stands for record text: no error may show it

TITLE, ABSTRACT = "Rash after madeupin", "Madeupin and placebol: rash|fever, then itch."
TEXT = f"{TITLE} {ABSTRACT}"
CHEMICALS = {"madeupin": "C1", "Madeupin": "C1", "placebol": "C2"}
DISEASES = {"Rash": "D1", "rash|fever": "D1|D2", "itch": "-1"}

PAIRS = View(answer="pairs", pairs=(("Chemical", "Disease"),))
ENTITIES = View(answer="entities")
RELATIONS = View(answer="relations")


def mention(text: str, kind: str, concept: str, name: str = "7") -> str:
    start = TEXT.index(text)
    return f"{name}\t{start}\t{start + len(text)}\t{text}\t{kind}\t{concept}"


def document(*links: str, name: str = "7") -> str:
    lines = [f"{name}|t|{TITLE}", f"{name}|a|{ABSTRACT}"]
    lines += [mention(text, "Chemical", concept, name) for text, concept in CHEMICALS.items()]
    lines += [mention(text, "Disease", concept, name) for text, concept in DISEASES.items()]
    return "\n".join([*lines, *(f"{name}\t{link}" for link in links)]) + "\n"


def reader(view: View, **settings) -> PubtatorReader:
    return PubtatorReader(name="pubtator", view=view, **settings)


def read(reader: PubtatorReader, path: Path, content: str) -> list[Record]:
    path.write_bytes(content.encode())
    (file,) = open_files(path.parent, path.name)
    return list(reader.read(file))


def refusal(reader: PubtatorReader, path: Path, content: str) -> str:
    with pytest.raises(DataError) as caught:
        read(reader, path, content)
    message = str(caught.value)
    assert SECRET not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def at(text: str, kind: str) -> Span:
    return Span(TEXT.index(text), TEXT.index(text) + len(text), kind)


def test_pair_is_marked_at_the_nearest_mentions_of_two_concepts(tmp_path):
    records = read(reader(PAIRS), tmp_path / "a.txt", document("CID\tC1\tD1"))
    found = {record.id: (record.text, record.answer) for record in records}
    # C1 ends at 17 and 28, D1 starts at 0 and 43; 19 characters lie between "Rash" and "madeupin"
    assert found["7:C1-D1"] == (
        f"<< madeupin >> {ABSTRACT}".join(("[[ Rash ]] after ", "")),
        LabelAnswer("CID"),
    )
    assert found["7:C2-D2"] == (
        f"{TITLE} Madeupin and << placebol >>: [[ rash|fever ]], then itch.",
        LabelAnswer("none"),
    )
    assert set(found) == {"7:C1-D1", "7:C1-D2", "7:C2-D1", "7:C2-D2"}  # no pair with "itch": -1
    assert {record.group for record in records} == {"7"}


def test_mention_of_several_concepts_is_one_span_of_the_text(tmp_path):
    (record,) = read(reader(ENTITIES), tmp_path / "a.txt", document())
    spans = [record.text[span.start : span.end] for span in record.answer.spans]
    assert record.text == TEXT
    assert spans == ["Rash", "madeupin", "Madeupin", "placebol", "rash|fever", "itch"]


def test_separator_says_which_sign_joins_concepts(tmp_path):
    link = reader(PAIRS, separator=",")
    records = read(link, tmp_path / "a.txt", document("CID\tC2\tD1|D2"))
    assert "7:C2-D1|D2" in {record.id for record in records}


def test_links_are_between_the_nearest_mentions(tmp_path):
    content = document("CID\tC2\tD2\tNovel")
    (record,) = read(reader(RELATIONS), tmp_path / "a.txt", content)
    link = Relation("CID", at("placebol", "Chemical"), at("rash|fever", "Disease"))
    assert record.answer.relations == (link,)


def test_links_without_direction_have_the_end_that_appears_first_as_head(tmp_path):
    content = document("Association\tD2\tC2")
    view = RELATIONS.model_copy(update={"directed": False})
    (record,) = read(reader(view), tmp_path / "a.txt", content)
    assert [link.head for link in record.answer.relations] == [at("placebol", "Chemical")]
    pairs = View(answer="pairs", pairs=(("Disease", "Chemical"),), directed=False)
    records = read(reader(pairs), tmp_path / "a.txt", content)
    labels = {record.id: record.answer.label for record in records}
    assert labels == {
        "7:D1-C1": "none",
        "7:C1-D2": "none",
        "7:C2-D1": "none",
        "7:C2-D2": "Association",
    }


def test_two_concepts_of_the_same_two_mentions_make_one_pair(tmp_path):
    content = "7|t|Rash then\n7|a|Rash.\n7\t0\t4\tRash\tD\tD1|D2\n7\t10\t14\tRash\tD\tD1|D2\n"
    view = View(answer="pairs", pairs=(("D", "D"),))
    for directed in (True, False):
        settled = view.model_copy(update={"directed": directed})
        (record,) = read(reader(settled), tmp_path / "a.txt", content)
        assert record.text == "<< Rash >> then [[ Rash ]]."


def test_pair_of_overlapping_mentions_is_marked_elsewhere_or_not_asked_for(tmp_path):
    inner = (
        "7|t|Madeupin rash\n7|a|Rash.\n7\t0\t8\tMadeupin\tC\tC1\n7\t0\t13\tMadeupin rash\tD\tD1\n"
    )
    view = View(answer="pairs", pairs=(("C", "D"),))
    assert read(reader(view), tmp_path / "a.txt", inner) == []
    (record,) = read(reader(view), tmp_path / "a.txt", inner + "7\t14\t18\tRash\tD\tD1\n")
    assert record.text == "<< Madeupin >> rash [[ Rash ]]."


def test_documents_of_the_excluded_file_are_left_out(tmp_path):
    (tmp_path / "dev.txt").write_text(document())
    settled = reader(ENTITIES, exclude="dev.txt")
    content = f"{document()}\n\n{document(name='8')}\n"
    assert [record.id for record in read(settled, tmp_path / "a.txt", content)] == ["8"]
    assert "reader.exclude" in refusal(settled, tmp_path / "a.txt", document(name="8"))


def test_crlf_lines_give_the_same_records_as_lf_lines(tmp_path):
    unix = read(reader(RELATIONS), tmp_path / "a.txt", document("CID\tC1\tD1"))
    crlf = document("CID\tC1\tD1").replace("\n", "\r\n")
    assert read(reader(RELATIONS), tmp_path / "a.txt", crlf) == unix


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"7\t0\t4\t{SECRET}\tDisease\tD1", "0-4 does not point"),
        (f"7\t{SECRET}", "neither a mention nor a link"),
        (f"8\t0\t4\t{SECRET}\tDisease\tD1", "not a line of document 7"),
    ],
)
def test_damaged_line_is_named_by_file_and_line(tmp_path, line, says):
    content = f"7|t|{TITLE}\n7|a|{ABSTRACT}\n{line}\n"
    message = refusal(reader(ENTITIES), tmp_path / "a.txt", content)
    assert message.startswith(":3: ")
    assert says in message


@pytest.mark.parametrize("header", [f"7|t|{SECRET}\n", f"7|t|{SECRET}\n8|a|{SECRET}\n"])
def test_document_without_title_and_abstract_is_refused(tmp_path, header):
    message = refusal(reader(ENTITIES), tmp_path / "a.txt", header)
    assert message.startswith(":1: ")


def test_link_to_an_unknown_concept_is_named_by_document(tmp_path):
    message = refusal(
        reader(RELATIONS), tmp_path / "a.txt", f"\n{document('CID C1 D9'.replace(' ', chr(9)))}"
    )
    assert message.startswith(":2: document 7: ")
    assert "'D9'" in message
