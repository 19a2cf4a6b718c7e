"""Draw the figures of a report. Knows nothing about tasks, models or folders.

matplotlib is used through its object interface, without pyplot's global state. The colors are those
of Okabe and Ito, which color-blind readers can distinguish. Each method also has its own marker;
from the ninth method on, colors repeat with other dashes or hatches. All summaries of a figure are
of one backbone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clinprompt.evaluation.cells import shots_name, shots_order
from clinprompt.evaluation.statistics.summaries import (
    Summaries,
    Summary,
    all_shots,
    at_shots,
    mean_over_targets,
    methods_of,
    targets_of,
    types_of,
)
from clinprompt.settings.groups import Shots

Curve = Sequence[tuple[int, float]]

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h", "d")
_DASHES = ("-", "--", ":")
_HATCHES = ("", "///", "...")
_PANEL_WIDTH, _PANEL_HEIGHT = 4.4, 3.1  # inches
_MAX_LABELED_CURVES = 8


def few_shot_figure(summaries: Summaries) -> Figure:
    """Draw the score by shots: a panel for each target, a line for each method, with intervals."""
    targets, methods = targets_of(summaries.values()), methods_of(summaries.values())
    shots = all_shots(summaries)
    figure, panels = _panels(len(targets), legend_height=0.3 + 0.22 * -(-len(methods) // 4))
    places = {method: _places(summaries, method, shots) for method in methods}
    for panel, target in zip(panels, targets, strict=True):
        for index, method in enumerate(methods):
            found = [(place, summaries.get((target, method, k))) for place, k in places[method]]
            points = [(place, summary) for place, summary in found if summary]
            _draw_method(panel, points, index, method)
        metric = next(one.cells[0].metric for one in summaries.values() if one.target == target)
        panel.set_title(target, fontsize=10, loc="left", fontweight="bold")
        panel.set_xticks(range(len(shots)), [str(k) for k in shots])
        panel.set_xlim(-0.5, len(shots) - 0.5)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("training examples (shots)")
        panel.set_ylabel(metric.replace("_", " "))
    _shared_legend(figure, panels[0])
    return figure


def trained_numbers_figure(summaries: Summaries) -> Figure:
    """Draw the mean score over targets by trainable parameters, for each method at its most shots.

    In an unfinished comparison, shots with results on fewer targets than others do not count.
    Methods that train nothing are dashed lines. A method without results on some target is left
    out, because its mean is over other targets.
    """
    num_targets = len(targets_of(summaries.values()))
    figure = Figure(figsize=(8.2, 4.2), layout="constrained")
    panel = figure.add_subplot()
    has_trained = False
    for index, method in enumerate(methods_of(summaries.values())):
        most = most_shots(summaries, method)
        group = [one for key, one in summaries.items() if key[1:] == (method, most)]
        if len(group) == num_targets:
            _draw_trained(panel, group, index, f"{method} ({shots_name(most)})")
            has_trained |= any(cell.trained_numbers for one in group for cell in one.cells)
    if has_trained:
        panel.set_xscale("log")
    panel.set_xlabel("trainable parameters a task (log scale)")
    panel.set_ylabel("mean score over targets")
    panel.set_ylim(bottom=0)
    _style(panel)
    panel.margins(x=0.12)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    return figure


def type_figure(summaries: Summaries) -> Figure | None:
    """Draw the mean score of each task type, a bar for each method, with intervals.

    Methods are shown at the largest number of shots that all of them have, zero-shot methods at
    zero-shot. A method without results on a target of a type has no bar there. Without common
    shots there is no figure (None).
    """
    shots = shots_in_common(summaries)
    if not shots:
        return None
    types = types_of(summaries.values())
    columns = [(place, method, k) for place, (method, k) in enumerate(shots.items())]
    width = len(types) * (0.4 + 0.17 * len(columns))
    figure = Figure(figsize=(max(7.2, width), 4.0), layout="constrained")
    panel = figure.add_subplot()
    _style(panel)
    for index, method, k in columns:
        grid = at_shots(summaries, k)
        groups = [[grid.get((target, method)) for target in names] for names in types.values()]
        places = np.arange(len(types)) + (index - (len(columns) - 1) / 2) * 0.84 / len(columns)
        _draw_bars(panel, list(zip(places, groups, strict=True)), index, 0.8 / len(columns))
        panel.bar([0], [0], label=f"{method} ({shots_name(k)})", **_bar_style(index))
    names = [
        f"{name}\n({len(targets)} target{'s' if len(targets) > 1 else ''})"
        for name, targets in types.items()
    ]
    panel.set_xticks(range(len(types)), names)
    panel.set_xlim(-0.55, len(types) - 0.45)
    panel.set_ylabel("mean score over targets")
    panel.set_ylim(bottom=0)
    _shared_legend(figure, panel)
    return figure


def shots_in_common(summaries: Summaries) -> dict[str, Shots]:
    """Return the shots at which each method is shown.

    These are 0 for methods that are only zero-shot, and otherwise the largest number of shots that
    all other methods have; if there is none, the result is empty. In an unfinished comparison,
    shots with fewer results than others do not count.
    """
    by_method: dict[str, set[Shots]] = {}
    for _, method, shots in summaries:
        by_method.setdefault(method, set()).add(shots)
    trained = [found for found in by_method.values() if found != {0}]
    common = set.intersection(*trained) if trained else {0}
    if not common:
        return {}
    filled = Counter(shots for _, _, shots in summaries if shots in common)
    most = max((k for k in common if filled[k] == max(filled.values())), key=shots_order)
    return {method: 0 if found == {0} else most for method, found in by_method.items()}


def most_shots(summaries: Summaries, method: str) -> Shots:
    """Return the largest number of shots at which a method has the most targets."""
    filled = Counter(shots for _, name, shots in summaries if name == method)
    return max((k for k in filled if filled[k] == max(filled.values())), key=shots_order)


def training_figure(curves: Mapping[str, Curve]) -> Figure:
    """Draw the loss by step; a curve named ``phase/name`` is in the panel of its phase."""
    phases: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        phases.setdefault(name.split("/")[0], {})[name] = curve
    figure, panels = _panels(len(phases), legend_height=0.0)
    for panel, (phase, members) in zip(panels, phases.items(), strict=True):
        few = len(members) <= _MAX_LABELED_CURVES
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
    """Return the figure as PNG; the same figure gives the same bytes."""
    buffer = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=144, facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _panels(number: int, *, legend_height: float) -> tuple[Figure, list[Axes]]:
    columns = min(3, number)
    rows = -(-number // columns)
    size = (max(columns * _PANEL_WIDTH, 6.0), rows * _PANEL_HEIGHT + legend_height)
    figure = Figure(figsize=size, layout="constrained")
    panels = [figure.add_subplot(rows, columns, place + 1) for place in range(number)]
    for panel in panels:
        _style(panel)
    return figure, panels


def _places(summaries: Summaries, method: str, shots: Sequence[Shots]) -> list[tuple[float, Shots]]:
    """Return the position of a method for each of its shots, next to the other methods."""
    places = []
    for place, k in enumerate(shots):
        methods = methods_of(one for one in summaries.values() if one.shots == k)
        if method in methods:
            step = min(0.07, 0.7 / len(methods))
            places.append((place + (methods.index(method) - (len(methods) - 1) / 2) * step, k))
    return places


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
        linestyle=_again(_DASHES, index),
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
        dashes = (0, (5, 2 + index % 4))  # different for each method
        panel.axhline(value, color=color, linestyle=dashes, linewidth=1.3, label=label)
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


def _draw_bars(
    panel: Axes,
    groups: Sequence[tuple[float, Sequence[Summary | None]]],
    index: int,
    width: float,
) -> None:
    """Draw the bar of a method at each place where it has results on all targets."""
    whole = [(place, [one for one in group if one]) for place, group in groups if all(group)]
    if not whole:
        return
    means = [mean_over_targets(group) for _, group in whole]
    panel.bar(
        [place for place, _ in whole],
        [value for value, _, _ in means],
        width,
        yerr=_error_bars(means),
        error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#444444"},
        **_bar_style(index),
    )


def _bar_style(index: int) -> dict[str, Any]:
    style = {"hatch": _again(_HATCHES, index), "edgecolor": "white", "linewidth": 0.6}
    return {"color": _COLORS[index % len(_COLORS)], **style}


def _again(styles: Sequence[str], index: int) -> str:
    """Return a style that differs from that of earlier methods with the same color."""
    return styles[index // len(_COLORS) % len(styles)]


def _draw_curve(panel: Axes, curve: Curve, color: str, label: str | None) -> None:
    """Draw the losses faintly, and on top their running mean over a tenth of the run."""
    steps = np.array([step for step, _ in curve])
    losses = np.array([loss for _, loss in curve])
    window = max(1, len(curve) // 10)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    panel.plot(steps, losses, color=color, alpha=0.25, linewidth=0.8)
    middle = steps[window // 2 :][: len(smooth)]
    panel.plot(middle, smooth, color=color, linewidth=1.5, label=label)


def _error_bars(intervals: Sequence[tuple[float, float, float]]) -> list[list[float]]:
    """Return the lengths of error bars; an interval that does not contain its value has none."""
    below = [max(0.0, value - low) for value, low, _ in intervals]
    return [below, [max(0.0, high - value) for value, _, high in intervals]]


def _shared_legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    if labels:
        inches = 0.6 + 0.075 * max(map(len, labels))  # a column: its line and its longest name
        ncols = min(4, len(labels), max(1, int(figure.get_figwidth() / inches)))
        place = "outside lower center"
        figure.legend(handles, labels, loc=place, ncols=ncols, frameon=False, fontsize=9)
