"""Commands that train prompts and score them."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clinprompt.cli.score_tables import show_outcome, show_scores
from clinprompt.cli.screen import (
    AllowBackbone,
    Config,
    Device,
    Dtype,
    Free,
    Json,
    Mirror,
    Out,
    Overrides,
    Task,
    TensorParallel,
    console,
    one_of_processes,
    progress_of_processes,
    say,
    score_bar,
    shown_progress,
)
from clinprompt.errors import number_of
from clinprompt.settings.defaults import FEW_ROWS, SHIPPED, SHOTS, TEST_ROWS

if TYPE_CHECKING:
    from clinprompt.jobs.annotate import LoadedPrompt
    from clinprompt.settings.run import RunConfig

_OF_TRAINING = {"num_examples", "steps", "trained_numbers", "artifact_bytes", "train_seconds"}
_OF_TRAINING |= {"tokens_per_second"}  # parts of a result that a saved prompt does not tell
SavedPrompt = Annotated[Path, typer.Argument(help="Folder of a saved prompt.")]
ScoredTask = Annotated[
    str,
    typer.Option(
        "--task", help="Folder of the task, if it is your own, or another task than the prompt's."
    ),
]
TestRows = Annotated[int, typer.Option("--rows", min=1, help="Maximal number of test records.")]
Backbone = Annotated[
    str,
    typer.Option(
        help="Name, folder or GGUF file of a backbone, if not the one that the prompt names."
    ),
]


def compare(
    config: Annotated[Path, typer.Argument(help="TOML file, for example configs/open21.toml.")],
    budget: Annotated[
        str,
        typer.Option(
            help="Stop after this time (90s, 30m, 2h), with equally many results of each method."
        ),
    ] = "",
    out: Out = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what it needs and what it costs.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="With --dry-run: TFLOP/s of the machine. By default measured on this one.",
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="With --dry-run: GPUs that share the work. By default one."),
    ] = None,
    gpu_memory: Annotated[
        float | None,
        typer.Option(min=1, help="With --dry-run: GB of a GPU, to say what fits."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare methods on target tasks, numbers of shots and seeds, and write a report.

    The same command continues a run that was stopped. Several processes can share the work, on one
    machine or on several that share the folder.
    """
    from clinprompt.jobs.comparison.budget import seconds_of
    from clinprompt.runs.suite_data import find_mirror

    settings = _settings(config, overrides)
    if dry_run:
        _print_plan(settings, mirror, rate, (gpus or 1, gpu_memory), as_json=as_json)
        return
    given = {"--rate": rate, "--gpus": gpus, "--gpu-memory": gpu_memory, "--json": as_json}
    _require_dry_run(given)
    seconds = seconds_of(budget) if budget else None
    command = _command_line(["compare", _shown(config)], mirror or find_mirror(None), overrides)
    _compare(settings, out or Path("runs") / settings.name, mirror, command, seconds)


def search(
    config: Annotated[Path, typer.Argument(help="TOML file with a section 'search'.")],
    out: Out = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Find the best settings of each method on held-out tasks, with equally many trials each."""
    from clinprompt.jobs.comparison.search import search as make_trials

    settings = _settings(config, overrides)
    folder = out or Path("runs") / f"{settings.name}-search"
    with shown_progress(folder) as reporter:
        table = make_trials(folder, settings, mirror=mirror, reporter=reporter)
    show_scores(table)


def report(
    run: Annotated[Path, typer.Argument(help="Folder of a comparison, for example runs/open21.")],
) -> None:
    """Write the report of a comparison again from its files: no data, no backbone, no training."""
    from clinprompt.jobs.comparison.report_again import report_again

    say(f"report: {report_again(run)}")


def quickstart(out: Out = None, overrides: Overrides = None) -> None:
    """Run all steps on synthetic notes: no download and no private data."""
    from importlib.resources import files

    from clinprompt.cli.demo import run_demo

    path = Path(str(files("clinprompt.jobs"))) / "practice.toml"
    settings = _settings(path, overrides)
    command = _command_line(["quickstart"], None, overrides)
    run_demo(settings, out or Path("runs") / settings.name, command)


def tune(
    task: Task,
    out: Out = None,
    config: Config = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Train a prompt on the training records of one task (prompt tuning)."""
    check_paths(tasks=[task])
    from clinprompt.jobs.tune import tune_task

    folder = out or Path("runs") / f"tune-{_run_name(task)}"
    settings = _settings(config, overrides, name="tune")
    with progress_of_processes(folder) as reporter:
        saved = tune_task(folder, task, settings, mirror=mirror, reporter=reporter)
    reporter.say(f"prompt: {saved}")


def distill(
    config: Annotated[Path, typer.Argument(help="TOML file that names a suite of tasks.")],
    out: Out = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Train a teacher for each source task of a suite, and distill them into one metaprompt."""
    from clinprompt import api

    settings = _settings(config, overrides)
    folder = out or Path("runs") / settings.name
    with progress_of_processes(folder) as reporter:
        saved = api.distill(settings, folder=folder, mirror=mirror, reporter=reporter)
    reporter.say(f"metaprompt: {saved}")


def adapt(
    task: Task,
    metaprompt: Annotated[
        str, typer.Option(help="Folder that 'distill' saved. By default the package's metaprompt.")
    ] = SHIPPED,
    shots: Annotated[
        int, typer.Option(min=0, help="Number of training examples; 0 trains nothing.")
    ] = SHOTS,
    factors_only: Annotated[
        bool,
        typer.Option("--factors-only", help="Train only the task's factors: far fewer numbers."),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Train again if this adaptation is finished already.")
    ] = False,
    out: Out = None,
    config: Config = None,
    mirror: Mirror = None,
    overrides: Overrides = None,
) -> None:
    """Adapt a metaprompt to a new task with a few examples."""
    check_paths(tasks=[task], prompts=[] if metaprompt == SHIPPED else [Path(metaprompt)])
    from clinprompt import api

    folder = out or Path("runs") / f"adapt-{_run_name(task)}"
    with progress_of_processes(folder) as reporter:
        annotator = api.adapt(
            api.load_task(task, mirror=mirror),
            shots=shots,
            metaprompt=metaprompt,
            factors_only=factors_only,
            force=force,
            folder=folder,
            settings=_settings(config, overrides) if config else overrides or (),
            reporter=reporter,
        )
    reporter.say(f"prompt: {annotator.folder}")
    for what, command in _next_commands(annotator.folder, task, mirror).items():
        reporter.say(f"{what}: {command}")


def evaluate(
    prompt: SavedPrompt,
    task: ScoredTask = "",
    rows: TestRows = TEST_ROWS,
    mirror: Mirror = None,
    backbone: Backbone = "",
    device: Device = "auto",
    dtype: Dtype = "auto",
    allow_backbone: AllowBackbone = False,
    free: Free = False,
    allow_other_task: Annotated[
        bool,
        typer.Option(
            "--allow-other-task", help="Score it on a task with other labels or kind of answer too."
        ),
    ] = False,
    tensor_parallel: TensorParallel = False,
    as_json: Json = False,
) -> None:
    """Score a saved prompt on test records, with a 95 % confidence interval."""
    check_paths(tasks=[task] if task else [], prompts=[prompt])
    from clinprompt import api

    with one_of_processes(tensor_parallel=tensor_parallel):
        annotator = api.Annotator.load(
            prompt,
            backbone=backbone,
            device=device,
            dtype=dtype,
            allow_backbone=allow_backbone,
            free=free,
            tensor_parallel=tensor_parallel,
        )
        data = api.load_task(task, mirror=mirror) if task else None
        with score_bar() as bar:
            cell = annotator.evaluate(
                data, num_rows=rows, mirror=mirror, allow_other_task=allow_other_task, reporter=bar
            )
        if as_json:
            console.print_json(cell.model_dump_json(exclude=_OF_TRAINING))
            return
        score = f"{cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}]"
        too_few = ", too few to tell" if cell.num_rows < FEW_ROWS else ""
        counted = f"{number_of(cell.num_rows, 'row')}{too_few}"
        method = how_trained(annotator.loaded, cell.method)
        say(f"{cell.target}: {score} on {counted} ({cell.scorer}; {method})")


def check_paths(
    *, tasks: Sequence[str] = (), prompts: Sequence[Path] = (), notes: Sequence[Path] = ()
) -> None:
    """Check tasks, saved prompts and notes before anything is imported that takes seconds."""
    from clinprompt.jobs.note_files import check_notes_exist
    from clinprompt.prompts.find_prompt import check_is_prompt
    from clinprompt.tasks.card import find_card

    for task in tasks:
        find_card(task)
    for prompt in prompts:
        check_is_prompt(prompt)
    for path in notes:
        check_notes_exist(path)


def _run_name(task: str) -> str:
    """Return the name of a task, or that of its folder if the folder or its card is given."""
    path = Path(task)
    if path.name == "card.toml":
        path = path.parent
    return path.stem if path.suffix == ".toml" else path.resolve().name


def _next_commands(prompt: Path, task: str, mirror: Path | None) -> dict[str, str]:
    """Return the commands that use a prompt of a task, ready to be copied."""
    from clinprompt.tasks.card import catalog

    own = [] if task in catalog() else ["--task", task]
    data = ["--mirror", str(mirror)] if mirror else []
    score = shlex.join(["clinprompt", "evaluate", str(prompt), *own, *data])
    use = shlex.join(["clinprompt", "predict", str(prompt)])
    return {"score it": score, "use it": f"{use} NOTES ANSWERS.jsonl"}


def how_trained(loaded: "LoadedPrompt", method: str) -> str:
    """Return how a prompt was trained: its method, and its number of examples if that was given."""
    shots = loaded.artifact.manifest.shots
    return f"{method}, {number_of(shots, 'training example')}" if shots else method


def _print_plan(
    settings: "RunConfig",
    mirror: Path | None,
    rate: float | None,
    gpus: tuple[int, float | None],
    *,
    as_json: bool,
) -> None:
    from time import process_time

    from clinprompt.cli.plan_tables import show_plan
    from clinprompt.jobs.planning.plan import Gpus, dry_run

    (count, gigabytes), started = gpus, process_time()
    own = Gpus(count, None if gigabytes is None else gigabytes * 1e9)
    operations = None if rate is None else rate * 1e12
    # A run imports about the same, which is most of what this process has done so far.
    plan = dry_run(settings, mirror, rate=operations, start_seconds=started, gpus=own)
    show_plan(plan, as_json=as_json)


def _require_dry_run(given: dict[str, float | bool | None]) -> None:
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
    from clinprompt.jobs.comparison.budget import Budget
    from clinprompt.jobs.comparison.compare import compare

    with shown_progress(folder) as reporter:
        outcome = compare(
            folder,
            settings,
            mirror=mirror,
            command=command,
            reporter=reporter,
            budget=Budget(seconds),
        )
    show_outcome(outcome, folder)


def _shown(config: Path) -> str:
    """Return a config's path without the user's own folders."""
    return config.name if config.is_absolute() else str(config)


def _settings(config: Path | None, overrides: list[str] | None, *, name: str = "") -> "RunConfig":
    from clinprompt.methods.check_methods import check_methods
    from clinprompt.settings.run import check_config, load_config

    if config:
        return check_methods(load_config(config, overrides or ()), source=str(config))
    values = {"name": name}
    return check_methods(check_config(values, source="settings", overrides=overrides or ()))


def _command_line(command: list[str], mirror: Path | None, overrides: list[str] | None) -> str:
    """Return the command that repeats a run, without the user's own paths."""
    changed = [word for override in overrides or () for word in ("--set", override)]
    return shlex.join(
        ["clinprompt", *command, *changed, *(["--mirror", "MIRROR"] if mirror else [])]
    )
