"""Trade-off: accuracy against seconds per epoch as a plot, the study's points told apart by shape and by fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from brain_tumor_tl.evidence.groups import Group
from brain_tumor_tl.evidence.leaderboard import accuracy, seconds_per_epoch
from brain_tumor_tl.evidence.study import table1

OURS, STUDY = "#0b5cad", "#a04000"
# Where a label may stand, in points from its marker: near places first.
AROUND = ((7, 0), (-7, 0), (0, 9), (0, -9), (7, 8), (-7, 8), (7, -8), (-7, -8))
PLACES = [(step * x, step * y) for step in (1, 1.5, 2, 3, 4, 6) for x, y in AROUND]


@dataclass(frozen=True)
class Point:
    """One marker.

    Attributes:
        seconds: Per epoch.
        percent: Accuracy.
        deviation: Of the accuracy over seeds, in percentage points; 0 for none.
        study: Whether it is the study's.
    """

    label: str
    method: str
    seconds: float
    percent: float
    deviation: float
    study: bool


def points(groups: Sequence[Group]) -> list[Point]:
    """Return what is to be drawn: every group with both figures, and the study's point of each that compares."""
    found = []
    for group in groups:
        ours, seconds = group.spread(accuracy), group.spread(seconds_per_epoch)
        if ours and seconds and seconds.mean > 0:
            label = group.model + (f", set {group.number}" if group.number else "")
            found.append(Point(label, group.method, seconds.mean, 100 * ours.mean, 100 * (ours.deviation or 0), False))
    for model, method in dict.fromkeys((group.model, group.method) for group in groups if group.study):
        row = table1()[model, method]
        found.append(Point(model, method, row["seconds_per_epoch"], 100 * row["accuracy"], 0, True))
    return found


def tradeoff_figure(drawn: Sequence[Point], method: str, note: str = "") -> Figure:
    """Draw one method's points; the axes have room for those of every method, so that two figures compare.

    Args:
        drawn: Points of all methods.
        method: The one to draw.
        note: What the title adds, such as that the images are synthetic.
    """
    figure = Figure(figsize=(4.9, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    own = [point for point in drawn if point.method == method]
    for study in (False, True):
        mark(axes, [point for point in own if point.study == study], study)
    scale(axes, drawn)
    axes.set_xlabel("seconds per epoch (logarithmic)")
    axes.set_ylabel("accuracy on the test part, percent")
    axes.set_title(method + (f", {note}" if note else ""), fontsize=11)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.draw_without_rendering()
    label(axes, own)
    return figure


def mark(axes: Axes, shown: Sequence[Point], study: bool) -> None:
    """Draw markers: ours filled circles with a bar of one standard deviation, the study's hollow squares."""
    if not shown:
        return
    style: dict[str, Any] = {"marker": "o", "color": OURS, "label": "these runs"}
    if study:
        style = {"marker": "s", "color": STUDY, "markerfacecolor": "none", "label": "the study"}
    axes.errorbar(
        [point.seconds for point in shown],
        [point.percent for point in shown],
        yerr=None if study else [point.deviation for point in shown],
        linestyle="none", markersize=7, markeredgewidth=1.5, elinewidth=1, capsize=2, **style,
    )  # fmt: skip


def scale(axes: Axes, drawn: Sequence[Point]) -> None:
    """Give the axes room for the points and their labels."""
    seconds = [point.seconds for point in drawn]
    percents = [point.percent + side * point.deviation for point in drawn for side in (-1, 1)]
    axes.set_xscale("log")
    axes.set_xlim(min(seconds) / 4, max(seconds) * 4)
    margin = max(0.12 * (max(percents) - min(percents)), 1.0)
    axes.set_ylim(min(percents) - margin, max(percents) + margin)
    decades = max(seconds) / min(seconds) > 100
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if decades else (1.0, 2.0, 5.0), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def label(axes: Axes, shown: Sequence[Point]) -> None:
    """Write each point's name where it covers no marker and no other name, as near as there is room."""
    taken = [marker_box(axes, point) for point in shown]
    for point in sorted(shown, key=lambda point: (point.study, point.percent)):
        tried = [(cost(axes, point, place, taken), place) for place in PLACES]
        _, place = min(tried, key=lambda item: item[0])
        taken.append(text_box(axes, annotate(axes, point, place)))


def cost(axes: Axes, point: Point, place: tuple[float, float], taken: Sequence[Bbox]) -> float:
    """Return how bad a place is for a point's name: what it would cover, and how far off it is."""
    text = annotate(axes, point, place)
    box = text_box(axes, text)
    text.remove()
    covered = sum(overlap(box, other) for other in taken)
    inside = overlap(box, axes.get_window_extent())
    return 10 * covered + 10 * (box.width * box.height - inside) + abs(place[0]) + abs(place[1])


def annotate(axes: Axes, point: Point, place: tuple[float, float]) -> Any:
    """Write a point's name at a place, with a thin line to its marker where it is further off."""
    horizontal = {1: "left", -1: "right", 0: "center"}[(place[0] > 0) - (place[0] < 0)]
    vertical = {1: "bottom", -1: "top", 0: "center"}[(place[1] > 0) - (place[1] < 0)]
    far = abs(place[0]) + abs(place[1]) > 20
    return axes.annotate(
        point.label, (point.seconds, point.percent), place, textcoords="offset points", fontsize=8,
        ha=horizontal, va=vertical, color=STUDY if point.study else OURS, fontstyle="italic" if point.study else None,
        arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "gray"} if far else None,
    )  # fmt: skip


def text_box(axes: Axes, text: Any) -> Bbox:
    """Return the pixels that a name takes, its line left out."""
    canvas: Any = axes.figure.canvas  # Agg's, which has a renderer
    text.update_positions(canvas.get_renderer())
    return Text.get_window_extent(text).padded(1)


def marker_box(axes: Axes, point: Point) -> Bbox:
    """Return the pixels that a marker and its bar take."""
    x, y = axes.transData.transform((point.seconds, point.percent))
    _, top = axes.transData.transform((point.seconds, point.percent + point.deviation))
    return Bbox.from_extents(x - 6, min(y - 6, 2 * y - top), x + 6, max(y + 6, top))


def overlap(one: Bbox, other: Bbox) -> float:
    """Return the area that two boxes share."""
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else both.width * both.height
