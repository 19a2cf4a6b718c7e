"""Commands that train, score and annotate."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinprompt.cli.screen import (
    AllowBackbone,
    Config,
    Device,
    Json,
    Mirror,
    Out,
    Overrides,
    console,
    print_table,
    reporter_of,
)

if TYPE_CHECKING:
    from clinprompt.settings.run import RunConfig


def compare(
    config: Annotated[Path, typer.Argument(help="TOML file, for instance configs/open21.toml.")],
    budget: Annotated[
        str, typer.Option(help="Stop in time, with a balanced part: 90s, 30m, 2h.")
    ] = "",
    out: Out = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what it needs, and what it costs.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(min=1e-6, help="With --dry-run: TFLOP/s of the machine; else measured here."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare methods on a grid of targets, shots and seeds, from teachers to the report.

    The same call goes on where it was stopped. Several calls, on one machine or on several over a
    shared folder, fill one grid together.
    """
    from clinprompt.jobs.comparison.compare import seconds_of
    from clinprompt.runs.suite_data import find_mirror

    settings = _settings(config, overrides)
    if dry_run:
        _tell_plan(settings, mirror, rate=rate, as_json=as_json)
        return
    _need_dry_run({"--rate": rate is not None, "--json": as_json})
    seconds = seconds_of(budget) if budget else None
    command = _repeat(["compare", _shown(config)], mirror or find_mirror(None), overrides)
    _compare(settings, out or Path("runs") / settings.name, mirror, command, seconds)


def search(
    config: Annotated[Path, typer.Argument(help="TOML file with a section [search].")],
    out: Out = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Search the settings of each method on held-back tasks, with equally many trials each."""
    from clinprompt.jobs.comparison.search import search as make_trials

    settings = _settings(config, overrides)
    folder = out or Path("runs") / f"{settings.name}-search"
    with reporter_of(folder) as reporter:
        table = make_trials(folder, settings, mirror=mirror, reporter=reporter)
    print_table(table.header, table.rows, title=table.title, note=table.note)


def quickstart(out: Out = None, overrides: Overrides = None) -> None:
    """Walk the whole road on made-up notes: no download, nothing private, ten minutes or so."""
    from importlib.resources import files

    path = Path(str(files("clinprompt.jobs"))) / "practice.toml"
    settings = _settings(path, overrides)
    command = _repeat(["quickstart"], None, overrides)
    _compare(settings, out or Path("runs") / settings.name, None, command)


def tune(
    task: Annotated[str, typer.Argument(help="Task name, or a folder with a card.toml.")],
    out: Out = None,
    config: Config = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Train a prompt of one task's own on its training rows (prompt tuning)."""
    from clinprompt.jobs.tune import tune_task

    folder = out or Path("runs") / f"tune-{Path(task).name}"
    settings = _settings(config, overrides, name="tune")
    with reporter_of(folder) as reporter:
        saved = tune_task(folder, task, settings, mirror=mirror, reporter=reporter)
    console.print(f"prompt: {saved}", markup=False, soft_wrap=True)


def distill(
    config: Annotated[Path, typer.Argument(help="TOML file that names a suite.")],
    out: Out = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Train the teachers of a suite's sources and distill them into one metaprompt."""
    from clinprompt.jobs.distill import distill_suite

    settings = _settings(config, overrides)
    folder = out or Path("runs") / settings.name
    with reporter_of(folder) as reporter:
        saved = distill_suite(folder, settings, mirror=mirror, reporter=reporter)
    console.print(f"metaprompt: {saved}", markup=False, soft_wrap=True)


def adapt(
    task: Annotated[str, typer.Argument(help="Task name, or a folder with a card.toml.")],
    metaprompt: Annotated[
        str, typer.Option(help="Folder that 'distill' saved; the package's own if not given.")
    ] = "shipped",
    shots: Annotated[int, typer.Option(min=1, help="How many training examples.")] = 64,
    factors_only: Annotated[
        bool, typer.Option("--factors-only", help="Train P·R + R·H numbers, nothing shared.")
    ] = False,
    out: Out = None,
    config: Config = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Fit a metaprompt to a new task from a few examples."""
    from clinprompt.jobs.adapt import adapt_task, settings_of
    from clinprompt.methods.check_methods import check_methods
    from clinprompt.methods.table import ADAPT_ALL, ADAPT_FACTORS
    from clinprompt.runs.suite_data import load_apart
    from clinprompt.settings.run import check_config
    from clinprompt.tasks.card import find_card

    folder = out or Path("runs") / f"adapt-{Path(task).name}"
    if config:
        settings = _settings(config, overrides)
    else:
        values = settings_of(metaprompt) | {"name": "adapt"}
        settings = check_methods(check_config(values, source="settings", overrides=overrides or ()))
    with reporter_of(folder) as reporter:
        saved = adapt_task(
            folder,
            load_apart(find_card(task), mirror),
            settings.model_copy(update={"metaprompt": metaprompt}),
            method=ADAPT_FACTORS if factors_only else ADAPT_ALL,
            shots=shots,
            reporter=reporter,
        )
    console.print(f"prompt: {saved}", markup=False, soft_wrap=True)


def evaluate(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    task: Annotated[str, typer.Option(help="Another task than the prompt's own.")] = "",
    rows: Annotated[int, typer.Option(min=1, help="Test rows at most.")] = 200,
    mirror: Mirror = None,
    backbone: Annotated[str, typer.Option(help="Another backbone than the prompt's own.")] = "",
    device: Device = "auto",
    allow_backbone: AllowBackbone = False,
    as_json: Json = False,
) -> None:
    """Score a saved prompt on a task's test rows, with a 95 % interval."""
    from clinprompt.jobs.annotate import open_annotator
    from clinprompt.jobs.evaluate import evaluate_prompt

    annotator = open_annotator(
        prompt, backbone=backbone, device=device, allow_backbone=allow_backbone
    )
    cell = evaluate_prompt(annotator, task, mirror=mirror, rows=rows)
    if as_json:
        console.print_json(cell.model_dump_json())
        return
    console.print(
        f"{cell.target}: {cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}] on {cell.num_rows} "
        f"rows ({cell.scorer}; {cell.method})",
        highlight=False,
    )


def predict(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    notes: Annotated[Path, typer.Argument(help="JSON Lines: one object with text a line.")],
    output: Annotated[Path, typer.Argument(help="JSON Lines file to write, or brat folder.")],
    form: Annotated[
        str, typer.Option("--format", help="jsonl, or brat: a folder with two files a note.")
    ] = "jsonl",
    backbone: Annotated[str, typer.Option(help="Another backbone than the prompt's own.")] = "",
    device: Device = "auto",
    allow_backbone: AllowBackbone = False,
) -> None:
    """Annotate new notes with a saved prompt."""
    from clinprompt.jobs.annotate import annotate_file, open_annotator, output_form

    known_form = output_form(form)
    annotator = open_annotator(
        prompt, backbone=backbone, device=device, allow_backbone=allow_backbone
    )
    count = annotate_file(annotator, notes, output, form=known_form)
    done = f"{count} notes annotated for {annotator.card.name}: {output}"
    console.print(done, markup=False, soft_wrap=True)


def _tell_plan(
    settings: "RunConfig", mirror: Path | None, *, rate: float | None, as_json: bool
) -> None:
    from clinprompt.cli.plan_tables import show_plan
    from clinprompt.jobs.planning.plan import dry_run

    operations = None if rate is None else rate * 1e12
    show_plan(dry_run(settings, mirror, rate=operations), as_json=as_json)


def _need_dry_run(given: dict[str, bool]) -> None:
    from clinprompt.errors import SettingError

    if lone := [name for name, is_given in given.items() if is_given]:
        raise SettingError(f"{lone[0]} has no effect without --dry-run; leave it out")


def _compare(
    settings: "RunConfig",
    folder: Path,
    mirror: Path | None,
    command: str,
    seconds: float | None = None,
) -> None:
    from clinprompt.jobs.comparison.compare import Budget, compare

    with reporter_of(folder) as reporter:
        outcome = compare(
            folder,
            settings,
            mirror=mirror,
            command=command,
            reporter=reporter,
            budget=Budget(seconds),
        )
    for table in outcome.tables:
        print_table(table.header, table.rows, title=table.title, note=table.note)
    done = f"{len(outcome.cells)} results"
    if outcome.num_missing:
        done += f", {outcome.num_missing} still missing"
    if outcome.cells:
        done += f"; report: {folder / 'report' / 'report.html'}"
    console.print(done, markup=False, soft_wrap=True)


def _shown(config: Path) -> str:
    return config.name if config.is_absolute() else str(config)


def _settings(config: Path | None, overrides: list[str] | None, *, name: str = "") -> "RunConfig":
    from clinprompt.methods.check_methods import check_methods
    from clinprompt.settings.run import check_config, load_config

    if config:
        return check_methods(load_config(config, overrides or ()))
    values = {"name": name}
    return check_methods(check_config(values, source="settings", overrides=overrides or ()))


def _repeat(command: list[str], mirror: Path | None, overrides: list[str] | None) -> str:
    """Return the command that repeats a run, without the user's own paths."""
    changed = [word for override in overrides or () for word in ("--set", override)]
    return shlex.join(
        ["clinprompt", *command, *changed, *(["--mirror", "MIRROR"] if mirror else [])]
    )
