"""Links are read from JSON Lines, with the offsets and words of their mentions."""

import json

import pytest
from pydantic import ValidationError

from clinprompt.errors import DataError
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.jsonl import JsonlReader
from clinprompt.tasks.records import Relation, RelationsAnswer, Span

TEXT = "😀 Takes aspirin 81 mg."
HEAD = {"start": 8, "end": 15, "label": "drug", "text": "aspirin"}
TAIL = {"start": 16, "end": 21, "label": "", "text": "81 mg"}
LINK = {"label": "dose", "head": HEAD, "tail": TAIL}
EXPECTED = Relation("dose", Span(8, 15, "drug"), Span(16, 21, ""))


def reader(**changes):
    row = {"id": "id", "fields": {"text": "text"}}
    return JsonlReader.model_validate({"name": "jsonl", "row": row, "links": "links", **changes})


def read(folder, *lines):
    text = "".join(json.dumps({"id": "n", "text": TEXT, **line}) + "\n" for line in lines)
    (folder / "train.jsonl").write_text(text)
    [file] = open_files(folder, "train.jsonl")
    return [record.answer for record in reader().read(file)], list(reader().notes(file))


def test_links_are_read_once_each_and_a_line_without_has_none(tmp_path):
    answers, notes = read(tmp_path, {"links": [LINK, LINK]}, {"links": []}, {})
    assert answers == [RelationsAnswer((EXPECTED,)), RelationsAnswer(()), RelationsAnswer(())]
    assert not notes


def test_offsets_in_utf16_code_units_are_found_from_the_words_of_the_mentions(tmp_path):
    moved = [{**one, "start": one["start"] + 1, "end": one["end"] + 1} for one in (HEAD, TAIL)]
    answers, notes = read(
        tmp_path, {"links": [{"label": "dose", "head": moved[0], "tail": moved[1]}]}
    )
    assert answers == [RelationsAnswer((EXPECTED,))]
    assert "UTF-16" in notes[0]


@pytest.mark.parametrize(
    "links", [3, ["dose"], [{"label": 3, "head": HEAD, "tail": TAIL}], [{**LINK, "tail": [1]}]]
)
def test_what_is_no_link_is_refused_with_its_line(tmp_path, links):
    with pytest.raises(DataError, match=r"train.jsonl:2: .*write each as"):
        read(tmp_path, {"links": [LINK]}, {"links": links})


def test_links_exclude_other_answers():
    with pytest.raises(ValidationError, match="give not both"):
        reader(spans="spans")
    with pytest.raises(ValidationError, match="links needs row"):
        reader(row={"fields": {"text": "text"}, "label": "label"})
