"""Sweep figures: learning curves and reliability of several runs in one plot for each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from brain_tumor_tl.evaluation.calibration import calibration_error
from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.palette import line_style
from brain_tumor_tl.reporting.run_figures import small_text
from brain_tumor_tl.reporting.run_files import read_run_files

MOST = 12  # lines of one plot
WIDTH = 4.4  # inches


class Line(NamedTuple):
    """A line of a plot.

    Attributes:
        name: What it is of.
        x: Its places, ascending.
        y: Its values.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]


def lines_figure(lines: Sequence[Line], title: str, labels: tuple[str, str], square: bool = False) -> Figure:
    """Plot lines in one pair of axes, with a legend below.

    Args:
        lines: At most a dozen can be told apart.
        title: Title of the plot.
        labels: Of the horizontal and of the vertical axis.
        square: Whether both axes are shares, with a diagonal where they are equal; else the horizontal one has whole
            numbers.
    """
    legend = 0.17 * (1 + (len(lines) + 1) // 2)
    with small_text():
        figure = Figure(figsize=(WIDTH, 2.9 + legend), dpi=100, layout="constrained")
        axes = figure.add_subplot()
        if square:
            axes.plot((0, 1), (0, 1), "--", color="grey", linewidth=1)
            axes.set(xlim=(0, 1), ylim=(0, 1.02))
        for place, line in enumerate(lines):
            marker = "o" if square or len(line.x) < 3 else None
            axes.plot(line.x, line.y, label=line.name, marker=marker, markersize=3, linewidth=1.2, **line_style(place))
        axes.set(xlabel=labels[0], ylabel=labels[1], title=title)
        if not square:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def by_method(groups: Sequence[RunGroup]) -> dict[str, list[RunGroup]]:
    """Return the groups of each method, of many those with the highest accuracy."""
    methods = dict.fromkeys(group.method for group in groups)
    ranked = sorted(groups, key=lambda group: -group.accuracy.mean)
    chosen = {method: [group for group in ranked if group.method == method][:MOST] for method in methods}
    return {method: [group for group in groups if group in found] for method, found in chosen.items()}


def name_of(group: RunGroup) -> str:
    """Return the name of a group's line: its network, and the number of its settings if groups differ in them."""
    return group.model + (f", set {group.number}" if group.number else "")


def curve_lines(groups: Sequence[RunGroup]) -> list[Line]:
    """Return the accuracy on the monitored split over the epochs, of the first run of each group that has it."""
    found = []
    for group in groups:
        try:
            files = read_run_files(group.runs[0])
        except ValueError:  # its own page names the damaged file
            continue
        key = f"{files.monitored}/accuracy"
        rows = [row for row in files.epochs if key in row]
        if rows:
            found.append(Line(name_of(group), [row["epoch"] for row in rows], [row[key] for row in rows]))
    return found


def reliability_lines(groups: Sequence[RunGroup]) -> list[Line]:
    """Return accuracy over confidence in bins, of the first run of each group that has them."""
    found = []
    for group in groups:
        rows = [
            row for row in (group.runs[0].results.get("probabilities") or {}).get("reliability", ()) if row["images"]
        ]
        if rows:
            error = calibration_error(rows)
            name = name_of(group) + ("" if error is None else f", {100 * error:.1f} %")
            found.append(Line(name, [row["confidence"] for row in rows], [row["accuracy"] for row in rows]))
    return found
