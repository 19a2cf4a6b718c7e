"""What reads input of others: each surface with inputs that are right, and how it reads one."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hostile_archives import ARCHIVES, make_archive
from made_cards import CARD_TEXT, card_of, record_of
from mutations import mutate
from pydantic import ValidationError
from reader_fixtures import FIXTURES, SECRET, Fixture
from watched import OUTSIDE

from clinprompt.errors import ClinpromptError
from clinprompt.evaluation.cells import read_cells
from clinprompt.jobs.note_files import read_notes
from clinprompt.settings.run import check_config, load_config
from clinprompt.tasks.card import catalog, read_card
from clinprompt.tasks.draft.columns import NamedColumns
from clinprompt.tasks.draft.draft_task import draft_task
from clinprompt.tasks.fetch.checksums import checksum
from clinprompt.tasks.kinds import instruction_of, make_example
from clinprompt.tasks.load import load_task
from clinprompt.tasks.readers.generic.data_files import open_files
from clinprompt.tasks.suite import find_suite

TEMPLATES = (
    "{% for i in range(99999) %}{% for j in range(99999) %}{{ i }}{% endfor %}{% endfor %}",
    "{% for i in text %}{% for j in text %}{{ text }}{% endfor %}{% endfor %}",
    "{{ 'x' * 9999999999 }}",
    "{{ [0] * 9999999999 }}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ '%9999999999d' % 1 }}",
    "{{ text.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ '{0.__class__}'.format(text) }}",
    "{% include 'card.toml' %}",
    "{% import 'card.toml' as x %}",
    "{% macro a(n) %}{{ a(n) }}{{ a(n) }}{% endmacro %}{{ a(1) }}",
    "{% set x = text %}{% set x = x ~ x ~ x ~ x %}{{ x }}",
    "{{ lipsum(n=99999) }}",
    "{{ text|center(9999999999) }}",
    "{{ text|batch(99999999)|list }}",
    "{{ 1 / 0 }}",
    "{{ 1 + text }}",
    "{{ text|nothing }}",
    "{{ text is nothing }}",
    "{{ options[0][1] }}",
    "{{ text[:5]|upper }}",
    "{% if labels %}{{ either }}{% else %}{{ text }}{% endif %}",
)
PLACES = (f"../{OUTSIDE}/a.csv", f"x/../../{OUTSIDE}/a.csv", "\\u0000", "n" * 5000, "**", "a\\nb")
WORDS = tuple(one.encode() for one in (*TEMPLATES, *PLACES))


@dataclass(frozen=True, slots=True)
class Surface:
    """How one kind of input is read: ``read`` gets a folder of its own and the input."""

    right: Sequence[bytes]
    read: Callable[[Path, bytes], object]
    words: Sequence[bytes] = ()
    share: int = 1  # of the inputs that are tried
    make: Callable[[random.Random, Sequence[bytes], Sequence[bytes]], bytes] | None = None
    may_connect: bool = False

    def input(self, draw: random.Random) -> bytes:
        """Return an input, which is most likely damaged."""
        if self.make:
            return self.make(draw, self.right, self.words)
        return mutate(draw, draw.choice(self.right), self.words)


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _reader(fixture: Fixture, damaged: str) -> Callable[[Path, bytes], object]:
    """Return how to read the files of a fixture, of which one is replaced by the input."""

    def read(folder: Path, content: bytes) -> object:
        for name, own in fixture.files.items():
            written(folder, name, content if name == damaged else own)
        files = open_files(folder, fixture.address)
        return sum(1 for file in files for _ in fixture.reader.read(file))

    return read


READERS = {
    f"reader {key}, {name}": Surface([content], _reader(fixture, name))
    for key, fixture in FIXTURES.items()
    for name, content in fixture.files.items()
}


def _card(folder: Path, content: bytes) -> object:
    """Read a card, show its texts, and load its records."""
    path = written(folder, "card.toml", content)
    (folder / "a.csv").write_text("n,t,l\n1,Well.,1\n2,Ill.,0\n")
    outside = folder.parent / OUTSIDE / "a.csv"
    card = read_card(path)
    shown: list[object] = []
    for show in (
        lambda: make_example(card, record_of("1", "Well " * 99, options=("yes", "no"))),
        lambda: instruction_of(card),
        lambda: load_task(card, outside.parent),
    ):
        try:
            shown.append(show())
        except ClinpromptError as error:
            shown.append(error)
    return shown


def _as_toml(value: object) -> str:
    """Return a value of JSON in TOML, as far as TOML has it."""
    if isinstance(value, dict):
        parts = (f"{json.dumps(k)} = {_as_toml(v)}" for k, v in value.items() if v is not None)
        return f"{{ {', '.join(parts)} }}"
    if isinstance(value, list):
        return f"[{', '.join(_as_toml(one) for one in value if one is not None)}]"
    return json.dumps(value).replace("NaN", "nan")


def _toml(draw: random.Random, right: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Change TOML as text, or as values that are written again."""
    content = draw.choice(right)
    if not content.startswith(b"{"):
        return mutate(draw, content, words)
    values = mutate(draw, content, words)
    try:
        table = json.loads(values)
        assert isinstance(table, dict)
        return "\n".join(
            f"{json.dumps(key)} = {_as_toml(value)}" for key, value in table.items()
        ).encode(errors="replace")
    except (AssertionError, ValueError, RecursionError):
        return values


def _as_json(path: Path) -> bytes:
    card = read_card(path)
    return json.dumps(card.model_dump(mode="json", exclude_defaults=True)).encode()


_SOME = ("ner-bc5cdr", "qa-medmcqa", "re-biored", "nli-mqp", "sum-openi", "practice-qa-choice")
CARDS = [
    CARD_TEXT.encode(),
    *(catalog()[name].read_bytes() for name in _SOME),
    *(_as_json(catalog()[name]) for name in _SOME),
]


def _template(draw: random.Random, _: Sequence[bytes], __: Sequence[bytes]) -> bytes:
    """Return a template of parts that are allowed and parts that are not."""
    parts = draw.choices((*TEMPLATES, "{{ text }}", " Or: ", "{% if text %}", "{% endif %}"), k=4)
    content = " ".join(parts).encode()
    return mutate(draw, content) if draw.random() < 0.5 else content


def _filled(_: Path, content: bytes) -> object:
    """Fill in a template, as what the model reads and as its instruction."""
    text = content.decode(errors="replace")
    shown: list[object] = []
    for part in ("template", "instruction"):
        wording = {"version": 1, "template": "{{ text }}", "cut": [], "instruction": "Do it."}
        try:
            card = card_of("qa", "choice", wording={**wording, part: text})
            shown += [make_example(card, record_of("1", "Well " * 99, options=("yes", "no")))]
        except (ClinpromptError, ValidationError) as error:
            shown.append(error)
    return shown


_SUITE = b'name = "s"\ntitle = "S"\nsources = ["a", "b"]\ntargets = ["c"]\n'
_RUN = (
    b'name = "mine"\nsuite = "practice"\n[data]\nmax_input_tokens = 400\n[adapt]\nsteps = 5\n'
    b'[compare]\nmethods = ["tuned", "lora@big"]\nshots = [4, 16]\n[variants.big.baselines]\n'
    b"lora_rank = 16\n"
)
_RUN_VALUES = (
    b'{"name": "mine", "suite": "practice", "device": "cpu", "data": {"max_input_tokens": 9}, '
    b'"compare": {"methods": ["tuned"], "backbones": ["a"], "shots": [4]}, "variants": {"big": '
    b'{"baselines": {"lora_rank": 4}}}, "search": {"trials": {"tuned": [{"seed": 1}]}}}'
)
_NOTES = (
    b'{"id": "1", "text": "Takes aspirin."}\n\n{"text": "Well.", "claim": "Ill.", '
    b'"options": ["a", "b"]}\n',
)


def _override(folder: Path, content: bytes) -> object:
    words = content.decode(errors="replace")
    return check_config({"name": "mine"}, source="settings", overrides=[words])


def _draft(kind: str, name: str, named: NamedColumns) -> Callable[[Path, bytes], object]:
    def read(folder: Path, content: bytes) -> object:
        written(folder, f"mine/{name}", content)
        if name.endswith(".ann"):
            for number in range(30):
                written(folder, f"mine/{number}.txt", f"{_TXT}{number}\n".encode())
                written(folder, f"mine/{number}.ann", _ANN if number else content)
        return draft_task(kind, folder / "mine", "mine", named).card_text

    return read


def _archive(folder: Path, content: bytes) -> object:
    """Read an archive as each of its kinds; the input begins with the ending of its name."""
    ending, _, packed = content.partition(b"\n")
    name = f"a.{ending.decode('latin-1')}" if ending.decode("latin-1") in ARCHIVES else "a.zip"
    path = written(folder, name, packed)
    found: list[object] = []
    for show in (
        lambda: [file.content()[:99] for file in open_files(folder, f"{name}!*")],
        lambda: [file.text()[:99] for file in open_files(folder, f"{name}!*.txt")],
        lambda: checksum(path, like="content:"),
    ):
        try:
            found.append(show())
        except ClinpromptError as error:
            found.append(error)
    return found


def _mentions(number: int) -> bytes:
    rows = ({"text": f"Takes aspirin {n}.", "spans": [[6, 13, "DRUG"]]} for n in range(number))
    return "\n".join(map(json.dumps, rows)).encode()


def _table(number: int) -> bytes:
    rows = (f"{n},note {n} is {'well' if n % 2 else 'ill'},{n % 2}" for n in range(number))
    return "\n".join(["id,text,label", *rows]).encode()


_ANN = b"T1\tDrug 5 12\tAspirin\nT2\tDose 13 18\t81 mg\nR1\tFor Arg1:T2 Arg2:T1\n"
_TXT = "Gave Aspirin 81 mg.\n"
TEXTS = {
    "card": Surface(CARDS, _card, WORDS, 30, _toml),
    "template": Surface([b"{{ labels }}"], _filled, share=10, make=_template),
    "suite": Surface(
        [_SUITE], lambda folder, content: find_suite(str(written(folder, "s.toml", content))), (), 2
    ),
    "settings": Surface(
        [_RUN, _RUN_VALUES],
        lambda folder, content: load_config(written(folder, "run.toml", content)),
        WORDS[-6:],
        15,
        _toml,
    ),
    "override": Surface([b"adapt.steps=5", b'compare.methods=["tuned"]'], _override, (), 3),
    "notes as lines": Surface(
        _NOTES,
        lambda folder, content: len([*read_notes(written(folder, "notes.jsonl", content))]),
        share=3,
    ),
    "notes as text": Surface(
        [b"Takes aspirin.\r\n"],
        lambda folder, content: len([*read_notes(written(folder, "notes.txt", content))]),
    ),
    "cells": Surface(
        [
            b'{"target": "a", "task_type": "ner", "method": "tuned", "shots": 4, "seed": 0, '
            b'"metric": "f1", "scorer": "x", "value": 0.5, "low": 0.4, "high": 0.6, "num_rows": 3, '
            b'"detectable": 0.1, "unparseable": 0, "ungrounded": 0, "truncated": 0}\n'
        ],
        lambda folder, content: len(read_cells(written(folder, "cells.jsonl", content))),
    ),
    "draft mentions": Surface(
        [_mentions(40)], _draft("ner", "notes.jsonl", NamedColumns()), share=1
    ),
    "draft table": Surface(
        [_table(60)], _draft("classification", "rows.csv", NamedColumns()), share=1
    ),
    "draft brat": Surface([_ANN], _draft("re", "0.ann", NamedColumns()), share=1),
    "archive": Surface([b""], _archive, share=8, make=make_archive),
}
SURFACES: dict[str, Surface] = {**READERS, **TEXTS}
SECRET_TEXT = SECRET


def empty(folder: Path) -> None:
    """Remove all that an input left in its folder."""
    for one in folder.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink()
