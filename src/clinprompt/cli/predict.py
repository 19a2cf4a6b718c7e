"""The command that annotates notes: with one saved prompt, or with many tasks of a store."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from clinprompt.cli.runs import Backbone, check_paths, how_trained
from clinprompt.cli.screen import (
    AllowBackbone,
    Bar,
    Device,
    Dtype,
    Free,
    TensorParallel,
    answer_bar,
    complaints,
    continued_after_stop,
    duration,
    one_of_processes,
    say,
)
from clinprompt.errors import SettingError, number_of
from clinprompt.settings.defaults import NOTE_CHARACTERS, NOTES_PER_CHUNK

if TYPE_CHECKING:
    from clinprompt.jobs.batch.folder import Summary
    from clinprompt.jobs.batch.run import Engine


def predict(
    prompt: Annotated[Path | None, typer.Argument(help="Folder of a saved prompt.")] = None,
    notes: Annotated[
        Path | None,
        typer.Argument(
            help='A .txt file, a folder of them, JSON Lines ({"text": ...} for each note) or '
            "Parquet."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Argument(
            help="JSON Lines file to write (replaced if it exists), or new brat folder."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a store: answer several of its tasks about many notes, with --input "
            "and --output instead of PROMPT NOTES OUTPUT."
        ),
    ] = None,
    tasks: Annotated[
        str, typer.Option(help="With --store: names of tasks, with commas. By default all.")
    ] = "",
    input_: Annotated[
        Path | None, typer.Option("--input", help="With --store: the notes, as NOTES.")
    ] = None,
    output_folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            help="With --store: folder to write. A batch in it continues; several processes may "
            "share it.",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="jsonl, or brat: two files for each note; with --store also csv and parquet.",
        ),
    ] = "jsonl",
    max_characters: Annotated[
        int | None,
        typer.Option(
            help=f"With --store: longest note; longer ones get an error ({NOTE_CHARACTERS:,}).",
            min=1,
        ),
    ] = None,
    notes_per_chunk: Annotated[
        int | None,
        typer.Option(
            help=f"With --store: notes that are written at a time ({NOTES_PER_CHUNK}).", min=1
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="With --store: plain (this process answers) or ray (several workers; needs "
            r"clinprompt\[scale])."
        ),
    ] = "plain",
    workers: Annotated[
        int | None,
        typer.Option(
            help="With --engine ray: processes, each with a backbone. By default one for each GPU.",
            min=1,
        ),
    ] = None,
    ray_address: Annotated[
        str,
        typer.Option(
            help="With --engine ray: address of a cluster. By default this machine, alone."
        ),
    ] = "",
    min_probability: Annotated[
        float | None,
        typer.Option(
            help="Without --store: leave out mentions and links that are less likely.",
            min=0,
            max=1,
        ),
    ] = None,
    backbone: Backbone = "",
    device: Device = "auto",
    dtype: Dtype = "auto",
    allow_backbone: AllowBackbone = False,
    free: Free = False,
    tensor_parallel: TensorParallel = False,
) -> None:
    """Annotate new notes with a saved prompt, or with tasks of a store (--store)."""
    of_batch = {
        "--tasks": tasks or None,
        "--input": input_,
        "--output": output_folder,
        "--max-characters": max_characters,
        "--notes-per-chunk": notes_per_chunk,
        "--engine": None if engine == "plain" else engine,
    }
    of_ray = {"--workers": workers, "--ray-address": ray_address or None}
    _check_alone(of_ray, "--engine ray", is_given=engine == "ray")
    if store is None:
        _predict_one(
            *_positional(prompt, notes, output, of_batch),
            form=form,
            min_probability=min_probability or 0.0,
            backbone=backbone,
            device=device,
            dtype=dtype,
            allow_backbone=allow_backbone,
            free=free,
            tensor_parallel=tensor_parallel,
        )
        return
    if tensor_parallel:
        raise SettingError("--tensor-parallel has no effect with --store; leave it out")
    if min_probability is not None:
        raise SettingError("--min-probability has no effect with --store; leave it out")
    if prompt is not None:
        raise SettingError(
            "PROMPT NOTES OUTPUT and --store exclude each other; with --store give --input and "
            "--output"
        )
    if input_ is None or output_folder is None:
        raise SettingError("--store needs --input NOTES and --output FOLDER")
    from clinprompt.jobs.batch.folder import table_form

    known_form, known_engine = table_form(form), _engine_of(engine, workers or 0, ray_address)
    check_paths(notes=[input_])
    from clinprompt.jobs.batch.run import BatchRequest, answer_batch

    request = BatchRequest(
        store=store,
        notes=input_,
        output=output_folder,
        tasks=tuple(name.strip() for name in tasks.split(",") if name.strip()),
        form=known_form,
        backbone=backbone,
        device=device,
        dtype=dtype,
        allow_backbone=allow_backbone,
        free=free,
        max_characters=max_characters or NOTE_CHARACTERS,
        notes_per_chunk=notes_per_chunk or NOTES_PER_CHUNK,
    )
    with continued_after_stop(output_folder, option="--output"), answer_bar() as bar:
        summary = answer_batch(request, AnswerProgress(bar, monotonic), known_engine)
    _show(summary, output_folder)


class AnswerProgress:
    """The progress of a batch: a bar, or without a terminal a line for each tenth of the answers.

    Both show the time left.
    """

    def __init__(self, bar: Bar, clock: Callable[[], float]) -> None:
        self._bar, self._clock = bar, clock
        self._started = 0.0
        self._total = self._at_start = self._done = self._tenths = 0

    def begin(self, what: str, *, total: int, done: int = 0) -> None:
        """Start with ``done`` of ``total`` answers."""
        self._bar.begin(what, total=total, done=done)
        self._started, self._total = self._clock(), total
        self._at_start = self._done = done
        self._tenths = 10 * done // max(total, 1)

    def advance(self, count: int, /) -> None:
        """Count more answers."""
        self._bar.advance(count)
        self._done += count
        tenths = 10 * self._done // self._total
        if tenths > self._tenths and not self._bar.is_on_terminal:
            self._tenths = tenths
            spent = self._clock() - self._started
            left = spent * (self._total - self._done) / (self._done - self._at_start)
            self.say(f"{self._done:,} of {self._total:,} answers, about {duration(left)} left")

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self._bar.say(message)


def _positional(
    prompt: Path | None, notes: Path | None, output: Path | None, of_batch: Mapping[str, object]
) -> tuple[Path, Path, Path]:
    _check_alone(of_batch, "--store", is_given=False)
    if prompt is None or notes is None or output is None:
        raise SettingError(
            "give PROMPT NOTES OUTPUT, or --store STORE --input NOTES --output FOLDER"
        )
    return prompt, notes, output


def _check_alone(options: Mapping[str, object], needed: str, *, is_given: bool) -> None:
    """Check that no option is given without the one that it needs."""
    lone = [name for name, value in options.items() if value is not None]
    if lone and not is_given:
        raise SettingError(f"{lone[0]} has no effect without {needed}; leave it out")


def _engine_of(word: str, num_workers: int, address: str) -> "Engine | None":
    """Return the engine of a word; None: this process answers."""
    match word:
        case "plain":
            return None
        case "ray":
            from clinprompt.jobs.batch.ray_engine import ray_engine

            return ray_engine(num_workers=num_workers, address=address)
    raise SettingError(f"no engine {word!r}; known: plain, ray")


def _predict_one(
    prompt: Path,
    notes: Path,
    output: Path,
    *,
    form: str,
    min_probability: float,
    backbone: str,
    device: str,
    dtype: str,
    allow_backbone: bool,
    free: bool,
    tensor_parallel: bool,
) -> None:
    check_paths(prompts=[prompt], notes=[notes])
    from clinprompt.backbone.ranks import ranks
    from clinprompt.jobs.annotate import annotate_file, load_prompt, output_form

    known_form = output_form(form)
    with one_of_processes(tensor_parallel=tensor_parallel):
        loaded = load_prompt(
            prompt,
            backbone=backbone,
            device=device,
            dtype=dtype,
            allow_backbone=allow_backbone,
            free=free,
            tensor_parallel=tensor_parallel,
        )
        own = (ranks().folder or output.parent) / output.name
        count = annotate_file(loaded, notes, own, form=known_form, min_probability=min_probability)
        method = how_trained(loaded, loaded.artifact.manifest.method)
        say(f"{number_of(count, 'note')} annotated for {loaded.card.name} ({method}): {output}")


def _show(summary: "Summary", folder: Path) -> None:
    notes, answers = number_of(summary.num_notes, "note"), number_of(summary.num_answers, "answer")
    say(f"{notes}, {answers}: {folder}")
    if not summary.num_errors:
        return
    rows = number_of(summary.num_errors, "row has", "rows have")
    say(f"{rows} an error instead of an answer:", screen=complaints)
    for row in summary.first_errors:
        task = f", {row['task']}" if "task" in row else ""
        say(f"  note {row['line']}{task}: {row['error']}", screen=complaints)
    if summary.num_errors > len(summary.first_errors):
        say("  ...", screen=complaints)
