"""Draw the figures of a report. Knows nothing of tasks, models or folders.

matplotlib is used through its object interface, without pyplot's global state. Colors are Okabe and
Ito's, which color-blind readers can tell apart; each method also has a marker of its own.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clinprompt.evaluation.cells import (
    Cell,
    Summary,
    mean_over_targets,
    shots_name,
    shots_order,
    summarize,
)

Curve = Sequence[tuple[int, float]]

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_PANEL_WIDTH, _PANEL_HEIGHT = 4.4, 3.1  # inches
_MOST_LABELED_CURVES = 8


def few_shot_figure(cells: Sequence[Cell]) -> Figure:
    """Draw score against shots: one panel a target, one line a method, bars for the intervals."""
    summaries = summarize(cells)
    targets = list(dict.fromkeys(cell.target for cell in cells))
    methods = list(dict.fromkeys(cell.method for cell in cells))
    shots = sorted({cell.shots for cell in cells}, key=shots_order)
    metric = {cell.target: cell.metric.replace("_", " ") for cell in cells}
    figure, panels = _panels(len(targets))
    for panel, target in zip(panels, targets, strict=True):
        for index, method in enumerate(methods):
            found = [(place, summaries.get((target, method, k))) for place, k in enumerate(shots)]
            offset = (index - (len(methods) - 1) / 2) * 0.07
            points = [(place + offset, summary) for place, summary in found if summary]
            _draw_method(panel, points, index, method)
        panel.set_title(target, fontsize=10, loc="left", fontweight="bold")
        panel.set_xticks(range(len(shots)), [str(k) for k in shots])
        panel.set_xlim(-0.5, len(shots) - 0.5)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("training examples (shots)")
        panel.set_ylabel(metric[target])
    _shared_legend(figure, panels[0], len(methods))
    return figure


def trained_numbers_figure(cells: Sequence[Cell]) -> Figure:
    """Draw the mean score over targets against trained numbers, for each method at its most shots.

    Methods that train nothing are dashed lines. A method that misses a target is left out: its mean
    is another mean.
    """
    summaries = summarize(cells)
    num_targets = len({cell.target for cell in cells})
    methods = list(dict.fromkeys(cell.method for cell in cells))
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    panel = figure.add_subplot()
    for index, method in enumerate(methods):
        most = max((c.shots for c in cells if c.method == method), key=shots_order)
        group = [one for key, one in summaries.items() if key[1:] == (method, most)]
        if len(group) == num_targets:
            _draw_trained(panel, group, index, f"{method} ({shots_name(most)})")
    if any(cell.trained_numbers for cell in cells):
        panel.set_xscale("log")
    panel.set_xlabel("trained numbers a task (log scale)")
    panel.set_ylabel("mean score over targets")
    panel.set_ylim(bottom=0)
    _style(panel)
    panel.margins(x=0.12)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    return figure


def training_figure(curves: Mapping[str, Curve]) -> Figure:
    """Draw loss against step; a curve named ``phase/name`` goes into the panel of its phase."""
    phases: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        phases.setdefault(name.split("/")[0], {})[name] = curve
    figure, panels = _panels(len(phases), legend_height=0.0)
    for panel, (phase, members) in zip(panels, phases.items(), strict=True):
        few = len(members) <= _MOST_LABELED_CURVES
        for (name, curve), color in zip(members.items(), cycle(_COLORS), strict=False):
            _draw_curve(panel, curve, color, name.removeprefix(f"{phase}/") if few else None)
        title = phase if few else f"{phase} ({len(members)} runs)"
        panel.set_title(title, fontsize=10, loc="left", fontweight="bold")
        panel.set_xlabel("step")
        panel.set_ylabel("loss")
        if few and len(members) > 1:
            panel.legend(frameon=False, fontsize=7)
    return figure


def to_png(figure: Figure) -> bytes:
    """Return the figure as a PNG picture; the same figure gives the same bytes."""
    buffer = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=144, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _panels(number: int, *, legend_height: float = 0.5) -> tuple[Figure, list[Axes]]:
    columns = min(3, number)
    rows = -(-number // columns)
    size = (max(columns * _PANEL_WIDTH, 6.0), rows * _PANEL_HEIGHT + legend_height)
    figure = Figure(figsize=size, layout="constrained")
    panels = [figure.add_subplot(rows, columns, place + 1) for place in range(number)]
    for panel in panels:
        _style(panel)
    return figure, panels


def _style(panel: Axes) -> None:
    panel.grid(axis="y", color="#dddddd", linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=9)


def _draw_method(
    panel: Axes, points: Sequence[tuple[float, Summary]], index: int, method: str
) -> None:
    places = [place for place, _ in points]
    values = [one.value for _, one in points]
    panel.errorbar(
        places,
        values,
        yerr=_error_bars([(one.value, one.low, one.high) for _, one in points]),
        label=method,
        color=_COLORS[index % len(_COLORS)],
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=5,
        linewidth=1.5,
        elinewidth=1,
        capsize=2,
    )


def _draw_trained(panel: Axes, group: Sequence[Summary], index: int, label: str) -> None:
    value, low, high = mean_over_targets(group)
    numbers = float(np.mean([cell.trained_numbers for one in group for cell in one.cells]))
    color = _COLORS[index % len(_COLORS)]
    if not numbers:
        panel.axhline(value, color=color, linestyle="--", linewidth=1.3, label=label)
        return
    panel.errorbar(
        [numbers],
        [value],
        yerr=_error_bars([(value, low, high)]),
        label=label,
        color=color,
        marker=_MARKERS[index % len(_MARKERS)],
        markersize=8,
        linestyle="none",
        elinewidth=1,
        capsize=3,
    )


def _draw_curve(panel: Axes, curve: Curve, color: str, label: str | None) -> None:
    """Draw the raw losses faintly and their running mean, over a tenth of the run, on top."""
    steps = np.array([step for step, _ in curve])
    losses = np.array([loss for _, loss in curve])
    window = max(1, len(curve) // 10)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    panel.plot(steps, losses, color=color, alpha=0.25, linewidth=0.8)
    middle = steps[window // 2 :][: len(smooth)]
    panel.plot(middle, smooth, color=color, linewidth=1.5, label=label)


def _error_bars(intervals: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    """Return what errorbar wants; an interval that misses its own value draws no bar there."""
    below = [max(0.0, value - low) for value, low, _ in intervals]
    return [below, [max(0.0, high - value) for value, _, high in intervals]]


def _shared_legend(figure: Figure, panel: Axes, num_methods: int) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(4, num_methods), frameon=False
    )
