"""The command line: one thin sub-command per recipe. The only place that prints.

Heavy parts are imported inside the commands, so that ``--help`` answers at once.
"""

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from clinprompt import __version__
from clinprompt.errors import ClinpromptError, SettingError

if TYPE_CHECKING:
    from clinprompt.config import Method, RunConfig
    from clinprompt.training.progress import Reporter

app = typer.Typer(
    help="One frozen language model, one learned metaprompt, every clinical NLP task.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
tasks_app = typer.Typer(help="What tasks there are, and whether their data is whole.")
prompts_app = typer.Typer(help="Saved prompts: list, inspect, check, export to PEFT.")
app.add_typer(tasks_app, name="tasks", no_args_is_help=True)
app.add_typer(prompts_app, name="prompts", no_args_is_help=True)
console = Console()
complaints = Console(stderr=True)

Mirror = Annotated[
    Path | None,
    typer.Option(help="Folder with one folder a data set. [env: CLINPROMPT_MIRROR]"),
]
Out = Annotated[Path | None, typer.Option(help="Run folder; an unfinished run there goes on.")]
Config = Annotated[Path | None, typer.Option(help="TOML file with settings.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...")]
AllowBackbone = Annotated[
    bool, typer.Option("--allow-backbone", help="Use a prompt on a backbone it was not trained on.")
]


def main() -> None:
    """Run the command line; a user's mistake is one sentence and exit code 2."""
    try:
        app()
    except ClinpromptError as error:
        words = f"[red]error:[/red] {escape(str(error))}"
        complaints.print(words, highlight=False, soft_wrap=True)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        console.print(f"clinprompt {__version__}")
        raise typer.Exit


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="TOML file, for instance configs/open-mini.toml.")],
    out: Out = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Walk the whole road: teachers, metaprompt, adaptation, baselines, report."""
    from clinprompt.config import load_config
    from clinprompt.recipes.suite import find_mirror

    settings = load_config(config, overrides or ())
    shown = config.name if config.is_absolute() else str(config)
    command = _repeat(["run", shown], mirror or find_mirror(None), overrides)
    _road(settings, out or Path("runs") / settings.name, mirror, command)


@app.command()
def quickstart(out: Out = None, overrides: Overrides = None) -> None:
    """Walk the whole road on made-up notes: no download, nothing private, a few minutes."""
    from importlib.resources import files

    from clinprompt.config import load_config

    path = Path(str(files("clinprompt.recipes"))) / "practice.toml"
    settings = load_config(path, overrides or ())
    command = _repeat(["quickstart"], None, overrides)
    _road(settings, out or Path("runs") / settings.name, None, command)


@app.command()
def tune(
    task: Annotated[str, typer.Argument(help="Task name, or a folder with a card.toml.")],
    out: Out = None,
    config: Config = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Train a prompt of one task's own on its training rows (prompt tuning)."""
    from clinprompt.recipes.one_task import tune_task

    folder = out or Path("runs") / f"tune-{Path(task).name}"
    settings = _settings(config, overrides, name="tune")
    with _reporter(folder) as reporter:
        saved = tune_task(folder, task, settings, mirror=mirror, reporter=reporter)
    console.print(f"prompt: {saved}", markup=False, soft_wrap=True)


@app.command()
def distill(
    config: Annotated[Path, typer.Argument(help="TOML file that names a suite.")],
    out: Out = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Train the teachers of a suite's sources and distill them into one metaprompt."""
    from clinprompt.config import load_config
    from clinprompt.recipes.one_task import distill_suite

    settings = load_config(config, overrides or ())
    folder = out or Path("runs") / settings.name
    with _reporter(folder) as reporter:
        saved = distill_suite(folder, settings, mirror=mirror, reporter=reporter)
    console.print(f"metaprompt: {saved}", markup=False, soft_wrap=True)


@app.command()
def adapt(
    task: Annotated[str, typer.Argument(help="Task name, or a folder with a card.toml.")],
    metaprompt: Annotated[Path, typer.Option(help="Folder that 'distill' or 'run' saved.")],
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
    from clinprompt.config import check_config
    from clinprompt.recipes.one_task import Request, adapt_task, settings_of

    method: Method = "adapted-factors" if factors_only else "adapted-metaprompt"
    request = Request(task, metaprompt, method, shots)
    folder = out or Path("runs") / f"adapt-{Path(task).name}"
    if config:
        settings = _settings(config, overrides, name="adapt")
    else:
        values = settings_of(metaprompt) | {"name": "adapt"}
        settings = check_config(values, source="settings", overrides=overrides or ())
    with _reporter(folder) as reporter:
        saved = adapt_task(folder, request, settings, mirror=mirror, reporter=reporter)
    console.print(f"prompt: {saved}", markup=False, soft_wrap=True)


@app.command()
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
    from clinprompt.recipes.one_task import evaluate_prompt
    from clinprompt.recipes.predict import open_annotator

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


@app.command()
def predict(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    notes: Annotated[Path, typer.Argument(help="JSON Lines: one object with text a line.")],
    output: Annotated[Path, typer.Argument(help="JSON Lines to write.")],
    backbone: Annotated[str, typer.Option(help="Another backbone than the prompt's own.")] = "",
    device: Device = "auto",
    allow_backbone: AllowBackbone = False,
) -> None:
    """Annotate new notes with a saved prompt."""
    from clinprompt.recipes.predict import annotate_file, open_annotator

    annotator = open_annotator(
        prompt, backbone=backbone, device=device, allow_backbone=allow_backbone
    )
    count = annotate_file(annotator, notes, output)
    done = f"{count} notes annotated for {annotator.card.name}: {output}"
    console.print(done, markup=False, soft_wrap=True)


@tasks_app.command("list")
def tasks_list(as_json: Json = False) -> None:
    """List the tasks that come with the package."""
    from clinprompt.tasks.card import catalog, find_card

    cards = [find_card(name) for name in catalog()]
    rows = [
        {"name": c.name, "type": c.type, "metric": c.metric, "license": c.source.license}
        for c in cards
    ]
    _show(rows, as_json=as_json)


@tasks_app.command("show")
def tasks_show(
    task: Annotated[str, typer.Argument(help="Task name, or a folder with a card.toml.")],
    examples: Annotated[int, typer.Option(min=0, help="Rendered training examples.")] = 2,
    mirror: Mirror = None,
) -> None:
    """Show a task's card and how its records are put into words."""
    from clinprompt.recipes.suite import examples_of, find_mirror
    from clinprompt.tasks.card import find_card
    from clinprompt.tasks.load import load_task

    card = find_card(task)
    console.print(f"[bold]{card.name}[/bold]  {card.title}\n{card.type}, {card.metric}")
    console.print(f"source: {card.source.repository} ({card.source.license})", soft_wrap=True)
    try:
        data = load_task(card, find_mirror(mirror))
    except SettingError as error:  # no mirror: the card is worth showing all the same
        console.print(str(error), style="yellow", markup=False, highlight=False, soft_wrap=True)
        return
    for example in examples_of(data, "train", limit=examples, seed=0):
        console.rule(example.record.id)
        console.print(example.input, style="dim", end=" ", markup=False, highlight=False)
        console.print(example.target, style="green", markup=False, highlight=False)


@tasks_app.command("check")
def tasks_check(
    tasks: Annotated[list[str] | None, typer.Argument(help="Task names or folders.")] = None,
    suite: Annotated[str, typer.Option(help="Check every task of a suite.")] = "",
    mirror: Mirror = None,
    as_json: Json = False,
) -> None:
    """Read whole tasks, verify checksums, and count rows and answers that survive as text."""
    from clinprompt.recipes.check import check_tasks

    _show(check_tasks(tasks or (), suite=suite, mirror=mirror), as_json=as_json)


@prompts_app.command("list")
def prompts_list(
    store: Annotated[Path, typer.Argument(help="Store folder, for instance runs/practice/store.")],
    as_json: Json = False,
) -> None:
    """List the prompts of a store."""
    from clinprompt.prompts.store import Store

    kept = Store(store)
    manifests = {name: kept.load(name).manifest for name in kept.names()}
    rows = [
        {"name": name, "kind": m.kind, "method": m.method, "length": m.length, "scores": m.scores}
        for name, m in manifests.items()
    ]
    _show(rows, as_json=as_json)


@prompts_app.command("show")
def prompts_show(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
) -> None:
    """Print a prompt's manifest as JSON."""
    from clinprompt.prompts.artifact import load_artifact

    console.print_json(load_artifact(prompt).manifest.model_dump_json())


@prompts_app.command("verify")
def prompts_verify(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    backbone: Annotated[str, typer.Option(help="Where the backbone is.")] = "",
) -> None:
    """Check that a prompt is whole and belongs to the backbone that it names."""
    from clinprompt.prompts.artifact import load_artifact

    manifest = load_artifact(prompt).manifest
    from clinprompt.backbone.load import check_fits, load_backbone_of

    check_fits(load_backbone_of(manifest, backbone, device="cpu"), manifest)
    console.print(f"{manifest.name}: whole, and made for {manifest.backbone}")


@prompts_app.command("export")
def prompts_export(
    prompt: Annotated[Path, typer.Argument(help="Folder of a saved prompt.")],
    folder: Annotated[Path, typer.Argument(help="Folder to write the PEFT adapter to.")],
    base: Annotated[str, typer.Option(help="Model name or path for PEFT to record.")] = "",
) -> None:
    """Write a task's prompt as a PEFT prompt-tuning adapter."""
    from clinprompt.prompts.peft_export import export_peft
    from clinprompt.prompts.store import open_prompt

    artifact, vectors = open_prompt(prompt)
    export_peft(folder, artifact.manifest, vectors, base=base or artifact.manifest.backbone)
    console.print(f"PEFT adapter: {folder}", markup=False, soft_wrap=True)


def _road(settings: "RunConfig", folder: Path, mirror: Path | None, command: str) -> None:
    from clinprompt.recipes.road import run_road

    with _reporter(folder) as reporter:
        cells, tables = run_road(
            folder, settings, mirror=mirror, command=command, reporter=reporter
        )
    for table in tables:
        _print_table(table.header, table.rows, title=table.title, note=table.note)
    done = f"{len(cells)} results; report: {folder / 'report' / 'report.html'}"
    console.print(done, markup=False, soft_wrap=True)


def _settings(config: Path | None, overrides: list[str] | None, *, name: str) -> "RunConfig":
    from clinprompt.config import check_config, load_config

    if config:
        return load_config(config, overrides or ())
    return check_config({"name": name}, source="settings", overrides=overrides or ())


@contextmanager
def _reporter(folder: Path) -> Iterator["Reporter"]:
    """Show progress; on Ctrl-C, say how to go on."""
    from clinprompt.training.progress import Bar

    try:
        with Bar(console) as bar:
            yield bar
    except KeyboardInterrupt:
        typed = sys.argv[1:]
        named = any(word.partition("=")[0] == "--out" for word in typed)
        again = shlex.join(["clinprompt", *typed, *([] if named else ["--out", str(folder)])])
        complaints.print(
            f"stopped; what is finished is in {folder}. Go on with: {again}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(130) from None


def _repeat(command: list[str], mirror: Path | None, overrides: list[str] | None) -> str:
    """Return the command that repeats a run, without the user's own paths."""
    changed = [word for override in overrides or () for word in ("--set", override)]
    return shlex.join(
        ["clinprompt", *command, *changed, *(["--mirror", "MIRROR"] if mirror else [])]
    )


def _print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "", note: str = ""
) -> None:
    columns = [Column(name, overflow="fold") for name in header]
    table = Table(
        *columns,
        title=title,
        title_justify="left",
        caption=note,
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
    console.print()


def _show(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    elif rows:
        _print_table(list(rows[0]), [[str(value) for value in row.values()] for row in rows])
