"""Write a report of results: Markdown, a self-contained HTML file and figures.

A report does not name folders of the machine: absolute paths are cut to their last part. Knows
nothing about models.
"""

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from clinprompt.errors import DataError
from clinprompt.evaluation.cells import Cell, by_backbone
from clinprompt.evaluation.report.comparison_tables import comparison_tables, type_tables
from clinprompt.evaluation.report.score_tables import (
    Baseline,
    Table,
    cost_tables,
    headed,
    summary_tables,
    without_ablations,
)
from clinprompt.evaluation.statistics.summaries import Summaries, summarize
from clinprompt.files import write_bytes, write_text

TASK_NOTE = (
    "Truncated: rows (of sources for training, of targets for testing) whose input was cut. Left "
    "out: training rows that are not used because their answer is longer than "
    "data.max_target_tokens."
)
_SEED = 0  # the same contents give the same report
_ABSOLUTE_PATH = re.compile(r"(?<![\w.:/~…])/(?:[^\s/\"',;:]+/)+([^\s/\"',;:]*)")


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task in the report's list of tasks.

    ``truncated`` is the share of rows (sources: training, targets: test) whose input was cut;
    ``left_out`` the share of training rows whose answer is too long to train on.
    """

    name: str
    type: str
    num_train: int
    num_validation: int
    num_test: int
    license: str
    truncated: float = 0.0
    left_out: float = 0.0


@dataclass(frozen=True, slots=True)
class ReportContents:
    """Everything that a report shows.

    ``dropped`` counts the rows of each source that overlapped with targets; ``curves`` maps
    ``phase/name`` to (step, loss) pairs; ``environment`` holds versions; ``command`` repeats it.
    Methods are tested against the ``references``; ``shown_methods`` read examples without training.
    """

    title: str
    suite: str
    cells: Sequence[Cell]
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    tasks: Sequence[TaskRow] = ()
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    command: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    references: Sequence[str] = ()
    shown_methods: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """One figure: its file name in ``figures/``, its caption and its PNG bytes."""

    name: str
    caption: str
    png: bytes

    @property
    def data_uri(self) -> str:
        """Return a data URI with the picture."""
        return f"data:image/png;base64,{b64encode(self.png).decode()}"


def write_report(folder: Path, contents: ReportContents) -> None:
    """Write ``report.md``, ``report.html`` and ``figures/*.png`` into the folder.

    Raises:
        DataError: there are no results.
        RunError: the disk is full or the folder is not writable.
    """
    if not contents.cells:
        raise DataError(f"{folder}: no results to report; run the evaluation first")
    groups = by_backbone(contents.cells)
    summaries = {
        name: summarize(group, np.random.default_rng(_SEED)) for name, group in groups.items()
    }
    pictures = _draw(contents, summaries)
    results = [
        table
        for name, group in groups.items()
        for table in headed(result_tables(group, summaries[name], contents), name, groups)
    ]
    for picture in pictures:
        write_bytes(folder / "figures" / picture.name, picture.png)
    for name in ("report.md", "report.html"):
        write_text(folder / name, _render(name, contents, results, pictures))


def result_tables(
    cells: Sequence[Cell], summaries: Summaries, contents: ReportContents
) -> list[Table]:
    """Return the tables of one backbone: scores, types, differences, ranks, ablations, costs."""
    scores = summary_tables(summaries, contents.baselines, contents.shown_methods)
    comparisons = comparison_tables(summaries, contents.references)
    return [*scores, *type_tables(summaries), *comparisons, *cost_tables(cells)]


def toml_like(settings: Mapping[str, object], section: str = "") -> str:
    """Return nested settings as in TOML: plain values, then a section for each group."""
    lines = [
        f"{key} = {json.dumps(value, default=str, ensure_ascii=False)}"
        for key, value in settings.items()
        if not isinstance(value, Mapping)
    ]
    head = [f"[{section}]"] if section and lines else []
    blocks = ["\n".join(head + lines)]
    for key, value in settings.items():
        if isinstance(value, Mapping):
            blocks.append(toml_like(value, f"{section}.{key}" if section else key))
    return "\n\n".join(block for block in blocks if block)


def without_paths(text: str) -> str:
    """Return the text with absolute paths cut to their last part."""
    return _ABSOLUTE_PATH.sub(r"…/\1", text)


def _draw(contents: ReportContents, summaries: Mapping[str, Summaries]) -> list[Picture]:
    from clinprompt.evaluation.report import plots  # noqa: PLC0415 - matplotlib is slow to load

    drawn = (
        ("few_shot", "Score by number of shots; bars are 95 % intervals.", plots.few_shot_figure),
        ("types", "Mean score by task type; bars are 95 % intervals.", plots.type_figure),
        (
            "trained_numbers",
            "Mean score by number of trainable parameters.",
            plots.trained_numbers_figure,
        ),
    )
    pictures = []
    for number, (backbone, group) in enumerate(summaries.items(), start=1):
        suffix, head = ("", "") if len(summaries) == 1 else (f"-{number}", f"{backbone}: ")
        main = without_ablations(group)
        for name, caption, draw in drawn:
            if figure := draw(main):
                png = plots.to_png(figure)
                pictures.append(Picture(f"{name}{suffix}.png", f"{head}{caption}", png))
    curves = {name: curve for name, curve in contents.curves.items() if curve}
    if curves:
        training = plots.to_png(plots.training_figure(curves))
        caption = "Training loss by step, of one seed; thick lines are running means."
        pictures.append(Picture("training.png", caption, training))
    return pictures


def _render(
    name: str, contents: ReportContents, results: Sequence[Table], pictures: Sequence[Picture]
) -> str:
    environment = Environment(
        loader=PackageLoader("clinprompt.evaluation.report"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["in_table"] = _in_table
    return environment.get_template(name).render(
        title=contents.title,
        suite=contents.suite,
        results=results,
        background=_background_tables(contents),
        pictures=pictures,
        notes=[without_paths(note) for note in contents.notes],
        settings=without_paths(toml_like(contents.settings)),
        command=without_paths(contents.command),
    )


def _in_table(text: str) -> str:
    """Return the text on one line and with ``|`` escaped, for a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())


def _background_tables(contents: ReportContents) -> list[Table]:
    """Return the tables of tasks, dropped rows and versions that are not empty."""
    versions = [[name, without_paths(text)] for name, text in contents.environment.items()]
    dropped = [[name, f"{count:,}"] for name, count in contents.dropped.items()]
    tasks = [
        [
            task.name,
            task.type,
            f"{task.num_train:,}",
            f"{task.num_validation:,}",
            f"{task.num_test:,}",
            f"{task.truncated:.1%}",
            f"{task.left_out:.1%}",
            task.license,
        ]
        for task in contents.tasks
    ]
    header = ["task", "type", "train", "validation", "test", "truncated", "left out", "license"]
    overlap = (
        "Rows of sources that share text with rows of a target, and training rows of a target that "
        "equal one of its test rows."
    )
    tables = [
        Table("Tasks", header, tasks, TASK_NOTE),
        Table(
            "Rows removed because they overlap with test rows",
            ["task", "removed rows"],
            dropped,
            overlap,
        ),
        Table("Environment", ["part", "version"], versions),
    ]
    return [table for table in tables if table.rows]
