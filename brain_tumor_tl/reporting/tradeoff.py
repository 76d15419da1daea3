"""Trade-off: plots of accuracy against seconds per epoch; a network has a shape, the study's points are hollow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.leaderboard import seconds_per_epoch

MAX_PANELS = 12
MARKERS = "os^DvP*X<>p"  # with ten colours, the pairs of both repeat after 110 networks


class Point(NamedTuple):
    """One marker.

    Attributes:
        model: The network.
        panel: Title of the plot that it belongs to.
        seconds: Seconds per epoch.
        percent: Accuracy in percent.
        std: Standard deviation of the accuracy over the runs, in percentage points; 0 if there is only one.
        study: Whether it is the study's.
    """

    model: str
    panel: str
    seconds: float
    percent: float
    std: float
    study: bool


def points(groups: Sequence[RunGroup]) -> list[Point]:
    """Return the points to plot: each group with accuracy and time, and the study's if it can be compared.

    There is a plot for each method and set of settings, or for each method if that would be too many plots.
    """
    titles = {id(group): group.method + (f", set {group.number}" if group.number else "") for group in groups}
    crowded = len(set(titles.values())) > MAX_PANELS
    found = []
    for group in groups:
        panel = group.method if crowded else titles[id(group)]
        accuracy, seconds = group.accuracy, group.spread(seconds_per_epoch)
        if seconds and seconds.mean > 0:
            std = 100 * (accuracy.std or 0)
            found.append(Point(group.model, panel, seconds.mean, 100 * accuracy.mean, std, False))
        if row := group.study:
            found.append(Point(group.model, panel, row["seconds_per_epoch"], 100 * row["accuracy"], 0, True))
    return sorted(dict.fromkeys(found), key=lambda point: point.study)  # the study's points once


def tradeoff_figure(drawn: Sequence[Point], title: str, note: str = "") -> Figure:
    """Plot the points of one panel; the axes have room for the points of all panels, so that they can be compared.

    Args:
        drawn: Points of all panels.
        title: The panel to plot.
        note: Text to add to the title.
    """
    models = list(dict.fromkeys(point.model for point in drawn))
    styles: dict[str, Any] = {
        model: {"color": f"C{i % 10}", "marker": MARKERS[i % len(MARKERS)], "linestyle": "none"}
        for i, model in enumerate(models)
    }
    sources = {point.study: "the study (hollow)" if point.study else "these runs (filled)" for point in drawn}
    legend = 0.2 * (1 + (len(models) + len(sources)) // 3)  # its height in inches, with three columns
    height = legend + 3.9
    figure = Figure(figsize=(4.9, height), dpi=100)
    axes = figure.add_axes((0.15, (legend + 0.5) / height, 0.82, 3.1 / height))  # a layout engine takes a second
    for point in drawn:
        if point.panel == title:
            axes.errorbar(
                point.seconds, point.percent, point.std or None, fillstyle="none" if point.study else "full",
                ms=7, mew=1.5, elinewidth=1, capsize=2, **styles[point.model],
            )  # fmt: skip
    set_scales(axes, drawn)
    axes.set(xlabel="seconds per epoch (logarithmic)", ylabel="accuracy on the test split, percent")
    axes.set_title(title + note, fontsize=11)
    axes.grid(alpha=0.25)
    entries = [Line2D([], [], label=model, **styles[model]) for model in models]
    for study, label in sources.items():
        entries.append(Line2D([], [], ls="none", marker="o", c="gray", mfc="none" if study else "gray", label=label))
    figure.legend(handles=entries, loc="lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def set_scales(axes: Axes, drawn: Sequence[Point]) -> None:
    """Scale the axes so that all points have room."""
    seconds = [point.seconds for point in drawn]
    ends = [end for point in drawn for end in (point.percent - point.std, point.percent + point.std)]
    margin = max(0.06 * (max(ends) - min(ends)), 0.5)
    axes.set(xscale="log", xlim=(min(seconds) / 1.5, max(seconds) * 1.5), ylim=(min(ends) - margin, max(ends) + margin))
    few_decades = max(seconds) / min(seconds) < 100
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few_decades else (1.0,), numticks=8))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
