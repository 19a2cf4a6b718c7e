"""The command that annotates notes with one saved prompt, or with many tasks of a store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from clinprompt.cli.predict_store import engine_of, predict_store
from clinprompt.cli.runs import Backbone, check_paths, how_trained
from clinprompt.cli.screen import (
    AllowBackbone,
    Device,
    Dtype,
    Free,
    TensorParallel,
    one_of_processes,
    say,
)
from clinprompt.errors import SettingError, number_of
from clinprompt.settings.defaults import NOTE_CHARACTERS, NOTES_PER_CHUNK


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
            help="With --engine ray: processes, each with a backbone. By default one for each GPU "
            "or, without GPUs, one for each machine.",
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
    with_store = {
        "--tasks": tasks or None,
        "--input": input_,
        "--output": output_folder,
        "--max-characters": max_characters,
        "--notes-per-chunk": notes_per_chunk,
        "--engine": None if engine == "plain" else engine,
    }
    without_store = {
        "--tensor-parallel": tensor_parallel or None,
        "--min-probability": min_probability,
    }
    with_ray = {"--workers": workers, "--ray-address": ray_address or None}
    if engine != "ray":
        _refuse(with_ray, "without --engine ray")
    if store is None:
        _refuse(with_store, "without --store")
        if prompt is None or notes is None or output is None:
            raise SettingError(
                "give PROMPT NOTES OUTPUT, or --store STORE --input NOTES --output FOLDER"
            )
        _predict_one(
            prompt,
            notes,
            output,
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
    _refuse(without_store, "with --store")
    if prompt is not None:
        raise SettingError(
            "PROMPT NOTES OUTPUT and --store exclude each other; with --store give --input and "
            "--output"
        )
    if input_ is None or output_folder is None:
        raise SettingError("--store needs --input NOTES and --output FOLDER")
    from clinprompt.jobs.batch.folder import table_form

    known_form, known_engine = table_form(form), engine_of(engine, workers or 0, ray_address)
    check_paths(notes=[input_])
    from clinprompt.jobs.batch.run import BatchRequest

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
    predict_store(request, known_engine)


def _refuse(options: Mapping[str, object], where: str) -> None:
    """Refuse options that are given although they have no effect there."""
    for name, value in options.items():
        if value is not None:
            raise SettingError(f"{name} has no effect {where}; leave it out")


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
