"""An error in a file names the file; readers raise no other errors.

Each damage is drawn many times for each reader; what is read all the same must be whole records.
"""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest
from damage import DAMAGES, bytes_replaced, cut
from hypothesis import given, settings
from hypothesis import strategies as st
from packing import gzipped, tarred, zipped
from reader_fixtures import FIXTURES, SECRET, Fixture

from clinprompt.errors import DataError
from clinprompt.tasks.card import find_card
from clinprompt.tasks.load import load_task
from clinprompt.tasks.readers import FileReader
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.records import LabelAnswer, Record, TextAnswer, spans_of

LINE = re.compile(r":\d+: ")


def lay_out(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """The files of every reader, in a separate folder for each."""
    return {
        key: lay_out(tmp_path_factory.mktemp(key.replace(" ", "_")), fixture.files)
        for key, fixture in FIXTURES.items()
    }


def read(fixture: Fixture, folder: Path, address: str = "") -> list[Record]:
    files = open_files(folder, address or fixture.address)
    return [record for file in files for record in fixture.reader.read(file)]


def read_or_refuse(fixture: Fixture, folder: Path, address: str = "") -> tuple[list[Record], str]:
    """Return the records, each of them whole, or why they cannot be read."""
    records, refusal = [], ""
    try:
        records = read(fixture, folder, address)
    except DataError as error:
        refusal = str(error)
    assert SECRET not in refusal
    for record in records:
        check_whole(record)
    return records, refusal


def check_whole(record: Record) -> None:
    """Check the types of a record's values, and that no value is a word for a missing value."""
    texts = [record.id, record.group, *record.fields.values(), *record.options]
    match record.answer:
        case LabelAnswer(text) | TextAnswer(text):
            texts.append(text)
    assert record.id
    assert record.answer is not None
    for text in texts:
        assert type(text) is str
        assert "None" not in text
        text.encode()
    for span in spans_of(record.answer):
        assert (type(span.start), type(span.end), type(span.type)) == (int, int, str)
        assert 0 <= span.start < span.end <= len(record.text)


def test_every_reader_has_a_fixture():
    (union, _) = get_args(FileReader)
    assert {type(fixture.reader) for fixture in FIXTURES.values()} == set(get_args(union))


@pytest.mark.parametrize("key", FIXTURES)
def test_whole_files_are_read(folders, key):
    records, refusal = read_or_refuse(FIXTURES[key], folders[key])
    assert refusal == ""
    assert any(
        SECRET in text for record in records for text in (*record.fields.values(), *record.options)
    )


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("key", FIXTURES)
@given(data=st.data())
@settings(max_examples=25)
def test_damaged_file_gives_whole_records_or_is_named(folders, key, damage, data):
    fixture, folder = FIXTURES[key], folders[key]
    name = data.draw(st.sampled_from(sorted(fixture.files)))
    (folder / name).write_bytes(data.draw(damage(fixture.files[name])))
    try:
        _, refusal = read_or_refuse(fixture, folder)
    finally:
        (folder / name).write_bytes(fixture.files[name])
    if refusal:
        assert any(str(folder / one) in refusal for one in fixture.files)
        is_of_whole = any(words in refusal for words in fixture.whole)
        assert is_of_whole or not fixture.lined or LINE.search(refusal)


TEXTS = [
    (key, name)
    for key, fixture in FIXTURES.items()
    for name, content in fixture.files.items()
    if not content.startswith(b"PK")
]


@pytest.mark.parametrize(("key", "name"), TEXTS)
def test_byte_that_is_not_utf8_is_named_by_file_and_line(folders, key, name):
    fixture, folder = FIXTURES[key], folders[key]
    content = fixture.files[name]
    at = content.rstrip().rfind(b"\n") + 1
    (folder / name).write_bytes(content[:at] + b"\xff" + content[at:])
    _, refusal = read_or_refuse(fixture, folder)
    (folder / name).write_bytes(content)
    line = content.count(b"\n", 0, at) + 1
    assert re.search(rf"{re.escape(str(folder / name))}(!\w+)?:{line}: ", refusal)


PACKERS = {
    "all.tar": tarred,
    "all.tar.gz": lambda files: gzipped(tarred(files)),
    "all.zip": zipped,
    "all.gz": lambda files: gzipped(next(iter(files.values()))),
}
PACKED = [
    *[(key, name) for key in ("brat", "nli4ct", "xml_pairs") for name in list(PACKERS)[:3]],
    ("conll", "all.gz"),
]


@pytest.mark.parametrize("damage", [cut, bytes_replaced])
@pytest.mark.parametrize(("key", "name"), PACKED)
@given(data=st.data())
@settings(max_examples=40)
def test_damaged_archive_is_named_and_a_cut_one_never_gives_less(folders, key, name, damage, data):
    fixture, folder = FIXTURES[key], folders[key]
    address = name if name == "all.gz" else f"{name}!{fixture.address}"
    whole = PACKERS[name](fixture.files)
    (folder / name).write_bytes(whole)
    expected = read(fixture, folder, address)
    (folder / name).write_bytes(data.draw(damage(whole)))
    records, refusal = read_or_refuse(fixture, folder, address)
    if refusal:
        assert str(folder / name) in refusal
    elif damage is cut:
        assert records == expected


CARD = """
name = "mine"
type = "{type}"
answer = "{answer}"
title = "Mine"
metric = "{metric}"
source = {{ repository = "here", license = "none stated", license_allows = "unstated" }}
reader = {reader}
files = {{ train = ["{file}"] }}
labels = {labels}
[wording]
version = 1
template = "{{{{ text }}}}:"
instruction = "Do it."
"""
LOADED = {
    "conll": {
        "type": "ner",
        "answer": "spans",
        "metric": "entity_f1",
        "reader": '{ name = "conll", separator = "blank", bare_type = "Drug" }',
        "labels": '{ Who = "person", Drug = "drug" }',
    },
    "jsonl spans": {
        "type": "ner",
        "answer": "spans",
        "metric": "entity_f1",
        "reader": '{ name = "jsonl", spans = "spans", row = { fields = { text = "text" } } }',
        "labels": '{ Who = "person", What = "thing" }',
    },
    "table without header": {
        "type": "nli",
        "answer": "label",
        "metric": "accuracy",
        "reader": '{ name = "table", delimiter = "tab", header = false, quotes = false, '
        'row = { fields = { text = "0" }, label = "1", id = "2" } }',
        "labels": '{ "1.5" = "yes", "0.25" = "no" }',
    },
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("key", LOADED)
@given(data=st.data())
@settings(max_examples=25)
def test_task_with_a_damaged_file_names_it(folders, key, damage, data):
    folder = folders[key]
    ((name, content),) = FIXTURES[key].files.items()
    (folder / "card.toml").write_text(CARD.format(file=name, **LOADED[key]))
    (folder / name).write_bytes(data.draw(damage(content)))
    refusal = name
    try:
        load_task(find_card(str(folder)), None)
    except DataError as error:
        refusal = str(error)
    finally:
        (folder / name).write_bytes(content)
    assert name in refusal
    assert SECRET not in refusal


LONG = "9" * 5000  # more digits than Python makes a number of
FOUND = [
    ("brat", "in/a_1.ann", "5 12", f"5 {LONG}", ":1: offsets must read"),
    ("headqa", "a.json", '"aid": 1', '"aid": null', ": E:5: 'aid' must be"),
    ("i2b2", "7.con", "1:0 1:1", f"1:0 1:{LONG}", ":1: a place needs two ends"),
    ("i2b2_2012", "1.xml", 'start="1"', 'start="²"', ":8: start and end must be"),
    ("jsonl", "a.jsonl", '"n": 2', f'"n": {LONG}', ":2: a number is too long"),
    ("jsonl", "a.jsonl", '"n": 2', f'"n": {"[" * 100_000}', ":2: a number is too long or lists"),
    ("jsonl", "a.jsonl", '"Why?"', r'"\ud800"', ":2: record '2': a text has half"),
    ("jsonl", "a.jsonl", '"n": 2', '"n": ""', ":2: a record has an empty id"),
    ("jsonl spans", "a.jsonl", '"start": 5', '"start": true', ":1: a span needs whole numbers"),
    ("mediqa_ans", "a.json", '"Why?"', r'"\ud800"', ": record '1_a': a text has half"),
    ("mimic_reports", "a.csv", "s6,1100,train", "s6", "!train:3: a row has an empty column"),
    ("mimic_reports", "a.csv", "s6,1100", 's6,"11"00', "!train:3: not a readable row"),
    ("phee", "a.json", '"id"', '"di"', ":1: line: 'id' must be"),
    ("primock", "said/a_doctor.TextGrid", "xmin = 2.5", "xmin = 2.5.1", ": the TextGrid lacks"),
    ("pubtator", "a.txt", "7\t0\t4", "7\t\t4", ":1: document 7: a link names"),
    ("pubtator", "a.txt", "7\t0\t4\tRash", "7\t9\t4\t", ":3: 9-4 does not point"),
    ("squad", "a.json", '"id": 1', '"id": null', ": a question of a:article1: 'id' must be"),
    ("table without header", "a.tsv", "0.25", "nan", ":2: 1 is not a number"),
]


@pytest.mark.parametrize(("key", "name", "right", "wrong", "says"), FOUND)
def test_damage_that_was_once_accepted_is_refused(folders, key, name, right, wrong, says):
    fixture, folder = FIXTURES[key], folders[key]
    content = fixture.files[name].decode()
    assert right in content
    (folder / name).write_text(content.replace(right, wrong, 1))
    _, refusal = read_or_refuse(fixture, folder)
    (folder / name).write_text(content)
    assert refusal.startswith(f"{folder / name}{says}")


def test_empty_gzip_and_a_tar_with_a_damaged_header_are_no_whole_files(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(b"")
    (file,) = open_files(tmp_path, "a.txt.gz")
    with pytest.raises(DataError, match=r"a\.txt\.gz: damaged: the file is empty"):
        file.text()
    whole = tarred({"a.txt": b"a", "b.txt": b"b"})  # a header and a text take 512 bytes each
    (tmp_path / "a.tar").write_bytes(whole[:1024] + b"\xff" + whole[1025:])
    with pytest.raises(DataError, match=r"a\.tar: damaged archive"):
        open_files(tmp_path, "a.tar")


def test_many_unclosed_tags_are_refused_in_linear_time(tmp_path):
    """Each tag was once searched for its end up to the end of the file: 40 s for 100 kB."""
    fixture = FIXTURES["i2b2_2012"]
    content = fixture.files["1.xml"].replace(b"<EVENT ", b"<EVENT i" * 12_000 + b"<EVENT ", 1)
    (tmp_path / "1.xml").write_bytes(content.replace(b"<EVENT i", b"<EVENT i ").replace(b"/>", b""))
    begun = time.process_time()
    with pytest.raises(DataError, match="a tag does not end in />"):
        read(fixture, tmp_path)
    assert time.process_time() - begun < 2
