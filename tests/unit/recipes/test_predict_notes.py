"""Notes to annotate are read line by line; a bad one is named by its line."""

import pytest

from clinprompt.errors import DataError
from clinprompt.recipes.predict import read_notes


def read(tmp_path, content):
    path = tmp_path / "notes.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_notes(path))


def test_notes_have_fields_options_and_an_id_or_a_line_number(tmp_path):
    first, second = read(
        tmp_path, '{"id": 7, "text": "a", "options": ["x", "y"]}\n\n{"text": "b\\u2028c"}'
    )
    assert (first.id, first.fields, first.options) == ("7", {"text": "a"}, ("x", "y"))
    assert (second.id, second.text, second.options) == ("3", "b\u2028c", ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no notes"),
        ("\n \n", "holds no notes"),
        (b"\xff", "not UTF-8"),
        ('{"text": "a"}\n{"text"', "notes.jsonl:2: not JSON"),
        ("[1]", "notes.jsonl:1: not an object"),
        ('{"text": 5}', "notes.jsonl:1: has no text field"),
        ('{"text": "a", "options": 5}', "notes.jsonl:1: options"),
        ('{"text": "a", "options": "xyz"}', "notes.jsonl:1: options"),
    ],
)
def test_a_bad_line_is_named(content, words, tmp_path):
    with pytest.raises(DataError, match=words):
        read(tmp_path, content)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        list(read_notes(tmp_path / "none.jsonl"))


def test_record_text_is_in_no_error(tmp_path):
    with pytest.raises(DataError) as raised:
        read(tmp_path, '{"text": "SECRET" ')
    assert "SECRET" not in str(raised.value)
