"""Annotations written for Label Studio are read back the same, for any text, kind and ids."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from test_brat_output import records as listed_records

from clinprompt.tasks.kinds.label_studio_output import CHOICE, WRITTEN, label_studio_tasks
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.readers.generic.label_studio import LabelStudioReader
from clinprompt.tasks.records import (
    LabelAnswer,
    Record,
    RelationsAnswer,
    SpansAnswer,
    TextAnswer,
)

ROW = {"id": "id", "fields": {"text": "text"}}
READERS = {
    SpansAnswer: {"row": ROW, "view": {"answer": "entities"}},
    RelationsAnswer: {"row": ROW, "view": {"answer": "relations"}},
    LabelAnswer: {"row": ROW | {"label": CHOICE, "verbatim": True}},
    TextAnswer: {"row": ROW | {"text": WRITTEN, "verbatim": True}},
}


def read_back(records, answer):
    with TemporaryDirectory() as folder:
        text = json.dumps(label_studio_tasks(records), ensure_ascii=False)
        (Path(folder) / "export.json").write_text(text, encoding="utf-8")
        reader = LabelStudioReader.model_validate({"name": "label_studio", **READERS[answer]})
        [file] = open_files(Path(folder), "export.json")
        assert not list(reader.notes(file))
        return [(one.id, one.fields, one.answer) for one in reader.read(file)]


@given(st.lists(listed_records(), min_size=1, max_size=3))
def test_mentions_and_links_come_back(drawn):
    for answer in (SpansAnswer, RelationsAnswer):
        own = [one for one in drawn if isinstance(one.answer, answer)]
        named = [Record(f"n {number}", one.fields, one.answer) for number, one in enumerate(own)]
        if named:
            assert read_back(named, answer) == [(n.id, n.fields, n.answer) for n in named]


def test_labels_and_texts_come_back():
    for answer in (LabelAnswer("yes"), TextAnswer("Rest, and fluids.")):
        record = Record("a/1", {"text": "Takes  nothing.\nRests."}, answer)
        assert read_back([record], type(answer)) == [(record.id, record.fields, answer)]
