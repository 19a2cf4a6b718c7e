"""Many tasks about many notes: bad notes, kills, several processes, formats."""

import csv
import json
import os
import random
import signal
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import call
from made_store import TASKS, save_prompt, save_store

from clinprompt.backbone import scheduler
from clinprompt.errors import RunError, SettingError
from clinprompt.jobs.annotate import as_json, prompt_on
from clinprompt.jobs.batch.folder import BatchFolder
from clinprompt.jobs.batch.run import BatchRequest, answer_batch
from clinprompt.jobs.note_files import read_notes
from clinprompt.training.progress import Silent

DRUGS, DOSES, HISTORY, _ = TASKS
WORDS = ["iron", "zinc", "pain", "no", "daily", "metformin", "500mg", "stopped", "reports", "cough"]


class Counted:
    """A progress that counts."""

    def __init__(self):
        self.total = self.done = 0

    def begin(self, _what, *, total, done=0):
        self.total, self.done = total, done

    def advance(self, count, /):
        self.done += count

    say = Silent.say


def made_note(number):
    drawn = random.Random(number)
    return {
        "id": f"n{number}",
        "text": f"Note {number}: " + " ".join(drawn.choices(WORDS, k=6)) + ".",
        "statement": "Takes iron.",
    }


def write_notes(path, count, *, bad=()):
    lines = [json.dumps(made_note(number)) for number in range(count)]
    for place, line in bad:
        lines[place] = line
    path.write_text("".join(line + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory, tiny_llama_folder):
    folder = tmp_path_factory.mktemp("batch") / "store"
    return save_store(folder, tiny_llama_folder, tasks=TASKS[:3])


@pytest.fixture
def request_of(tmp_path, store, tiny_llama_folder):
    def made(notes, name="out", **changes):
        values = {
            "tasks": (DRUGS, HISTORY),
            "backbone": str(tiny_llama_folder),
            "device": "cpu",
            "notes_per_chunk": 4,
            **changes,
        }
        return BatchRequest(store=store, notes=notes, output=tmp_path / name, **values)

    return made


def answered(request):
    progress = Counted()
    summary = answer_batch(request, progress)
    assert progress.done == progress.total
    return summary


def rows_of(request):
    text = (request.output / "answers.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def floats(value):
    """Return all floats inside a JSON value, in order."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [found for one in inner for found in floats(one)]
    return [value] if isinstance(value, float) else []


def without_floats(row):
    return json.loads(json.dumps(row), parse_float=lambda _: None)


def test_answers_are_those_of_predict_for_one_prompt(request_of, store, tiny_llama, tmp_path):
    notes = write_notes(tmp_path / "notes.jsonl", 10)
    request = request_of(notes, tasks=TASKS[:3])
    summary = answered(request)
    assert (summary.num_notes, summary.num_answers, summary.num_errors) == (10, 30, 0)
    rows = rows_of(request)
    assert [(row["line"], row["task"]) for row in rows] == [
        (line, task) for line in range(1, 11) for task in TASKS[:3]
    ]
    for task in TASKS[:3]:
        loaded = prompt_on(tiny_llama, store / task)
        alone = [as_json(loaded.card, one) for one in loaded.annotate(list(read_notes(notes)))]
        together = [row for row in rows if row["task"] == task]
        for row, expected in zip(together, alone, strict=True):
            del row["line"]
            assert without_floats(row) == without_floats(expected)
            assert floats(row) == pytest.approx(floats(expected), rel=1e-3)
    assert sorted(one.name for one in request.output.iterdir()) == [
        "answers.jsonl",
        "batch.json",
        "claims",
        "summary.json",
    ]


def test_a_bad_note_becomes_an_error_with_its_line_and_the_rest_is_answered(request_of, tmp_path):
    secret = json.dumps({"id": "long", "text": "SECRET " * 50})
    no_statement = json.dumps({"text": "Takes iron."})
    bad = [(1, '{"text": "SECRET'), (3, ""), (4, secret), (5, '{"id": "e", "text": " "}')]
    notes = write_notes(tmp_path / "notes.jsonl", 9, bad=[*bad, (7, no_statement)])
    request = request_of(notes, max_characters=300)
    summary = answered(request)
    rows = rows_of(request)
    assert (summary.num_notes, summary.num_answers, summary.num_errors) == (9, 9, 5)
    wrong = {row["line"]: row for row in rows if "error" in row}
    for line, words in {
        2: "notes.jsonl:2: not JSON",
        4: "notes.jsonl:4: a blank line",
        5: "350 characters; the limit is 300",
        6: "the note is empty",
        8: "statement",
    }.items():
        assert words in wrong[line]["error"]
    assert (wrong[5]["id"], wrong[6]["id"]) == ("long", "e")
    assert [row["task"] for row in rows if row["line"] == 8] == [DRUGS, HISTORY]
    assert list(summary.first_errors) == list(wrong.values())
    left = [path for path in request.output.rglob("*") if path.is_file()]
    assert all("SECRET" not in path.read_text() for path in left)


@pytest.mark.slow
def test_of_1000_notes_three_bad_ones_are_named_and_997_answered(request_of, tmp_path):
    long = json.dumps({**made_note(700), "text": "iron " * 100_000})
    bad = [(100, '{"text": "b'), (500, ""), (700, long)]
    notes = write_notes(tmp_path / "notes.jsonl", 1000, bad=bad)
    request = request_of(notes, tasks=(DRUGS,), notes_per_chunk=256)
    summary = answered(request)
    assert (summary.num_notes, summary.num_answers, summary.num_errors) == (1000, 997, 3)
    assert [row["line"] for row in rows_of(request)] == list(range(1, 1001))
    assert [row["line"] for row in rows_of(request) if "error" in row] == [101, 501, 701]


@pytest.mark.usefixtures("random_models_list_mentions")
def test_a_note_longer_than_the_model_reads_is_windowed_for_mentions_and_cut_for_labels(
    request_of, tmp_path
):
    text = " ".join(made_note(number)["text"] for number in range(30))
    long = {**made_note(0), "text": text}
    notes = tmp_path / "notes.jsonl"
    notes.write_text(json.dumps(long) + "\n")
    request = request_of(notes)
    assert answered(request).num_errors == 0
    mentions, label = rows_of(request)
    assert "input_was_cut" not in mentions
    starts = [one["start"] for one in mentions["entities"]]
    assert max(starts) - min(starts) > 600  # the model reads at most 400 characters at a time
    assert label["input_was_cut"]


def in_a_fork(work):
    """Start a copy of this process that does some work; return its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads are not used there
        child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)


def ended(child):
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class Killer(Counted):
    """Kill this process, as ``kill -9`` does, at the n-th answer or step of writing a file."""

    def __init__(self, at, *, counts_answers=True):
        super().__init__()
        self.left, self.counts_answers = at, counts_answers
        for owner, name in ((Path, "replace"), (os, "fsync")):
            setattr(owner, name, self.around(getattr(owner, name)))

    def around(self, call):
        def watched(*arguments):
            self.tick()
            found = call(*arguments)
            self.tick()
            return found

        return watched

    def tick(self):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

    def advance(self, count, /):
        super().advance(count)
        if self.counts_answers:
            self.tick()


def killed(request, at, **options):
    """Return whether a batch was killed before it was finished."""
    code = ended(in_a_fork(lambda: answer_batch(request, Killer(at, **options))))
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.parametrize("form", ["jsonl", "brat"])
def test_a_batch_killed_at_random_points_loses_no_row_and_has_none_twice(
    form, request_of, tmp_path
):
    notes = write_notes(tmp_path / "notes.jsonl", 10, bad=[(6, "{")])
    whole = request_of(notes, "whole", form=form, tasks=(DRUGS, DOSES))
    answered(whole)
    often = replace(whole, output=tmp_path / "often")
    drawn, num_kills = random.Random(form), 0
    while killed(often, drawn.randint(4, 20 + 10 * max(num_kills - 5, 0))):  # so that it ends
        num_kills += 1
    assert num_kills >= 5
    assert answered(often) == answered(whole)
    assert visible_files(often.output) == visible_files(whole.output)


def visible_files(folder):
    """Return all files by name with their contents, without locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and "claims" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_batch_killed_at_every_step_of_writing_continues(request_of, tmp_path):
    notes = write_notes(tmp_path / "notes.jsonl", 6)
    whole = request_of(notes, "whole")
    answered(whole)
    at = 1
    while killed(own := replace(whole, output=tmp_path / f"killed-{at}"), at, counts_answers=False):
        answered(own)
        assert visible_files(own.output) == visible_files(whole.output)
        at += 1
    assert at > 20  # start, two parts, summary and result: four steps each


def test_processes_share_a_batch_and_answer_each_chunk_once(request_of, tmp_path):
    notes = write_notes(tmp_path / "notes.jsonl", 12)
    alone = request_of(notes, "alone")
    answered(alone)
    shared = replace(alone, output=tmp_path / "shared")
    log, works = tmp_path / "log", {number: tmp_path / f"{number}-works" for number in (1, 2)}
    write = BatchFolder.write_part

    def work(number):
        def logged(folder, chunk, rows):
            with log.open("a") as stream:
                stream.write(f"{number} {chunk}\n")
            write(folder, chunk, rows)

        class Meeting(Counted):
            """Each process keeps its first chunk until the other has one, too."""

            def advance(self, count, /):
                super().advance(count)
                works[number].touch()
                while not all(path.exists() for path in works.values()):
                    time.sleep(0.01)

        BatchFolder.write_part = logged
        answered_here = Meeting()
        answer_batch(shared, answered_here)
        assert answered_here.done == answered_here.total == 24

    children = [in_a_fork(lambda number=number: work(number)) for number in (1, 2)]
    assert [ended(child) for child in children] == [0, 0]
    assert visible_files(shared.output) == visible_files(alone.output)
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(chunk for _, chunk in lines) == ["0", "1", "2"]
    assert {number for number, _ in lines} == {"1", "2"}


def test_a_finished_batch_is_not_answered_again(request_of, tmp_path, monkeypatch):
    request = request_of(write_notes(tmp_path / "notes.jsonl", 5))
    first = answered(request)
    monkeypatch.setattr("clinprompt.jobs.batch.run.load_backbone_for", None)
    assert answer_batch(request, Counted()) == first


def test_other_notes_tasks_prompts_or_options_are_refused(request_of, store, tmp_path):
    notes = write_notes(tmp_path / "notes.jsonl", 3)
    request = request_of(notes)
    answered(request)
    for changes, words in (
        ({"tasks": (DRUGS,)}, "another tasks"),
        ({"form": "csv"}, "another format"),
        ({"free": True}, "another free"),
        ({"dtype": "bfloat16"}, "another dtype"),
        ({"max_characters": 9}, "another max characters .200000, now 9"),
    ):
        with pytest.raises(RunError, match=words):
            answer_batch(replace(request, **changes), Counted())
    write_notes(notes, 4)
    with pytest.raises(RunError, match="another input"):
        answer_batch(request, Counted())


def test_other_folders_and_unknown_tasks_are_refused(request_of, tmp_path):
    notes = write_notes(tmp_path / "notes.jsonl", 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match="not an empty folder and not a batch"):
        answer_batch(request_of(notes), Counted())
    with pytest.raises(SettingError, match=f"did you mean {DRUGS}"):
        answer_batch(request_of(notes, tasks=("practice-ner-drug",)), Counted())
    with pytest.raises(SettingError, match="brat shows spans and relations only"):
        answer_batch(request_of(notes, form="brat"), Counted())
    with pytest.raises(SettingError, match="is the input itself"):
        answer_batch(replace(request_of(notes), output=notes), Counted())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.jsonl", "out"]


def test_tables_have_a_line_for_each_annotation(request_of, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    notes = write_notes(tmp_path / "notes.jsonl", 6, bad=[(2, "{")])
    requests = [
        request_of(notes, form, form=form, tasks=TASKS[:3]) for form in ("jsonl", "csv", "parquet")
    ]
    for request in requests:
        answered(request)
    lines, table, columns = [request.output / f"answers.{request.form}" for request in requests]
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    with table.open(newline="") as stream:
        flat = list(csv.DictReader(stream))
    assert len(flat) == sum(
        max(1, len(row.get("entities", ())) + len(row.get("relations", ()))) for row in rows
    )
    labels = [(one["line"], one["label"]) for one in flat if one["task"] == HISTORY]
    assert labels == [(str(row["line"]), row["label"]) for row in rows if "label" in row]
    mentions = [
        (one["id"], one["label"], one["text"], int(one["start"]), float(one["probability"]))
        for one in flat
        if one["task"] == DRUGS and one["start"]
    ]
    assert mentions == [
        (row["id"], one["type"], one["text"], one["start"], one["probability"])
        for row in rows
        for one in row.get("entities", ())
    ]
    assert [one["error"] for one in flat if one["error"]] == [
        f"{notes}:3: not JSON; write one object a line"
    ]
    shown = [
        {name: "" if value is None else str(value) for name, value in one.items()}
        for one in parquet.read_table(columns).to_pylist()
    ]
    assert shown == flat


def test_notes_come_from_parquet_and_folders(request_of, tmp_path):
    pyarrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    values = [made_note(number) for number in range(6)]
    values[4] = {**values[4], "text": None, "statement": None}
    parquet.write_table(pyarrow.Table.from_pylist(values), tmp_path / "notes.parquet")
    folder = tmp_path / "notes"
    folder.mkdir()
    for one in values:
        (folder / f"{one['id']}.txt").write_text(one["text"] or "")
    (folder / "n3.txt").write_bytes(b"caf\xe9")
    lines = write_notes(tmp_path / "notes.jsonl", 6)
    found = {}
    for name in ("notes.jsonl", "notes.parquet", "notes"):
        request = request_of(tmp_path / name, f"out-{name}", tasks=(DRUGS,))
        answered(request)
        found[name] = rows_of(request)
    assert lines.exists()
    table, texts = found["notes.parquet"], found["notes"]
    assert [row for row in table if row["line"] != 5] == [
        row for row in found["notes.jsonl"] if row["line"] != 5
    ]
    assert "row 5: has no text field" in table[4]["error"]
    assert (texts[3]["id"], texts[4]["id"]) == ("4", "n4")
    assert "not UTF-8" in texts[3]["error"]
    assert "empty" in texts[4]["error"]
    assert [texts[n] for n in (0, 1, 2, 5)] == [table[n] for n in (0, 1, 2, 5)]


def test_parquet_without_pyarrow_names_the_package(request_of, tmp_path, monkeypatch):
    monkeypatch.setattr("clinprompt.jobs.note_files.find_spec", lambda _: None)
    notes = write_notes(tmp_path / "notes.jsonl", 3)
    with pytest.raises(SettingError, match=r"pip install '\.\[parquet\]'"):
        answer_batch(request_of(notes, form="parquet"), Counted())
    assert not (tmp_path / "out").exists()


def test_brat_has_a_folder_for_each_task_with_the_pairs_of_each_chunk(request_of, tmp_path):
    notes = write_notes(tmp_path / "notes.jsonl", 6, bad=[(1, "{")])
    request = request_of(notes, form="brat", tasks=(DRUGS, DOSES))
    answered(request)
    folder = request.output / "brat"
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    for task in (DRUGS, DOSES):
        own = [row for row in rows if row.get("task") == task]
        assert [row["file"] for row in own] == [
            f"{task}/{n // 4:06d}/n{n}" for n in range(6) if n != 1
        ]
        assert (folder / task / "annotation.conf").is_file()
        for row in own:
            place = folder / row["file"]
            note = made_note(row["line"] - 1)
            assert place.with_suffix(".txt").read_text() == note["text"]
            marks = place.with_suffix(".ann").read_text().count("\tAnnotatorNotes")
            assert marks == len(row.get("entities", row.get("relations", ())))


def test_tasks_of_one_note_are_read_once_after_suffixes(tmp_path, tiny_llama_folder, monkeypatch):
    store = tmp_path / "suffixes"
    for seed, task in enumerate((DRUGS, DOSES)):
        save_prompt(store, tiny_llama_folder, task, placement="suffix", seed=seed)
    notes = write_notes(tmp_path / "notes.jsonl", 3)
    sizes = []
    read = scheduler.read_inputs

    def counted(model, rows, bank):
        sizes.append(len({row.task for row in rows}))
        return read(model, rows, bank)

    monkeypatch.setattr(scheduler, "read_inputs", counted)
    request = BatchRequest(
        store=store,
        notes=notes,
        output=tmp_path / "out",
        backbone=str(tiny_llama_folder),
        device="cpu",
    )
    answered(request)
    assert max(sizes) == 2


def test_the_command_answers_a_batch_and_names_its_errors(store, tiny_llama_folder, tmp_path):
    write_notes(tmp_path / "notes.jsonl", 4, bad=[(2, "{")])
    words = ("predict", "--store", store, "--tasks", f"{DRUGS},{HISTORY}", "--device", "cpu")
    words = (*words, "--input", "notes.jsonl", "--output", "out", "--backbone", tiny_llama_folder)
    result = call(*words, folder=tmp_path)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "4 notes, 6 answers: out\n"
    assert "1 row has an error" in result.stderr
    assert "note 3: notes.jsonl:3: not JSON" in result.stderr
    assert "answers, " in result.stderr
    assert " left" in result.stderr
    again = call(*words, folder=tmp_path)
    assert (again.exit_code, again.stdout) == (0, result.stdout)
    other = call(*words, "--dtype", "bfloat16", folder=tmp_path)
    assert other.exit_code == 2
    assert "another dtype" in other.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("p", "n", "o", "--tasks", "a"), "--tasks has no effect without --store"),
        (("p", "n"), "give PROMPT NOTES OUTPUT, or --store"),
        (("--store", "s", "--input", "n"), "--store needs --input NOTES and --output FOLDER"),
        (("p", "--store", "s"), "exclude each other"),
        (
            ("--store", "s", "--input", "n", "--output", "o", "--format", "xls"),
            "no output format 'xls'; known: jsonl, csv, brat, parquet",
        ),
        (("p", "n", "o", "--engine", "ray"), "--engine has no effect without --store"),
        (("p", "n", "o", "--workers", "2"), "--workers has no effect without --engine ray"),
        (
            ("--store", "s", "--input", "n", "--output", "o", "--ray-address", "a:1"),
            "--ray-address has no effect without --engine ray",
        ),
        (
            ("--store", "s", "--input", "n", "--output", "o", "--engine", "dask"),
            "no engine 'dask'; known: plain, ray",
        ),
    ],
)
def test_a_wrong_combination_of_options_is_one_sentence(words, message, tmp_path):
    result = call("predict", *words, folder=tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
