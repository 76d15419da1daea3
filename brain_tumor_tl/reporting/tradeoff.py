"""Trade-off: accuracy against seconds per epoch as a plot, the study's points told apart by shape and by fill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from brain_tumor_tl.reporting.aggregate import Group
from brain_tumor_tl.reporting.leaderboard import seconds_per_epoch

OURS, STUDY = "#0b5cad", "#a04000"
# Where a label may stand, in points from its marker: near places first.
AROUND = ((7, 0), (-7, 0), (0, 9), (0, -9), (7, 8), (-7, 8), (7, -8), (-7, -8))
PLACES = [(step * x, step * y) for step in (1, 1.5, 2, 3, 4, 6) for x, y in AROUND]


MOST_PANELS = 12


@dataclass(frozen=True)
class Point:
    """One marker.

    Attributes:
        label: Its name in the plot; empty for none.
        panel: Title of the plot that it belongs to.
        seconds: Per epoch.
        percent: Accuracy.
        std: Of the accuracy over seeds, in percentage points; 0 for none.
        study: Whether it is the study's.
    """

    label: str
    panel: str
    seconds: float
    percent: float
    std: float
    study: bool


def points(groups: Sequence[Group]) -> list[Point]:
    """Return what is to be drawn: every group with both figures, and the study's point of each that compares.

    Each method has a plot, or each method and set of settings; where that is too many, each method has one without
    names.
    """
    crowded = len({panel(group) for group in groups}) > MOST_PANELS
    found: dict[Point, None] = {}  # keeps the order, and the study's points once
    for group in groups:
        ours, seconds = group.accuracy, group.spread(seconds_per_epoch)
        place, name = (group.method, "") if crowded else (panel(group), group.model)
        if ours and seconds and seconds.mean > 0:
            point = Point(name, place, seconds.mean, 100 * ours.mean, 100 * (ours.std or 0), False)
            found[point] = None
        if row := group.study:
            found[Point(name, place, row["seconds_per_epoch"], 100 * row["accuracy"], 0, True)] = None
    return sorted(found, key=lambda point: point.study)


def panel(group: Group) -> str:
    """Return the title of the plot that a group belongs to."""
    return group.method + (f", set {group.number}" if group.number else "")


def tradeoff_figure(drawn: Sequence[Point], title: str, note: str = "") -> Figure:
    """Draw one plot; its axes have room for the points of all plots, so that they compare.

    Args:
        drawn: Points of all plots.
        title: The plot to draw.
        note: What the title adds, such as that the images are synthetic.
    """
    figure = Figure(figsize=(4.9, 4.5), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.17, 0.2, 0.8, 0.73))  # fixed: a layout engine takes a second a figure
    own = [point for point in drawn if point.panel == title]
    for study in (False, True):
        mark(axes, [point for point in own if point.study == study], study)
    scale(axes, drawn)
    axes.set_xlabel("seconds per epoch (logarithmic)")
    axes.set_ylabel("accuracy on the test part, percent")
    axes.set_title(title + (f", {note}" if note else ""), fontsize=11)
    axes.grid(alpha=0.25)
    figure.legend(loc="lower center", ncols=2, frameon=False, fontsize=9)
    label(axes, [point for point in own if point.label])
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
        yerr=None if study else [point.std for point in shown],
        linestyle="none", markersize=7, markeredgewidth=1.5, elinewidth=1, capsize=2, **style,
    )  # fmt: skip


def scale(axes: Axes, drawn: Sequence[Point]) -> None:
    """Give the axes room for the points and their labels."""
    seconds = [point.seconds for point in drawn]
    percents = [point.percent + side * point.std for point in drawn for side in (-1, 1)]
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
    inside = axes.get_window_extent()
    markers = [marker_box(axes, point) for point in shown]
    names: list[Bbox] = []
    for own, point in sorted(zip(markers, shown, strict=True), key=lambda pair: (pair[1].study, pair[1].percent)):
        others = [marker for marker in markers if marker is not own]
        size = name_size(axes, point)
        boxes = [(place, name_box(axes, own, size, place)) for place in PLACES]
        place, box = min(boxes, key=lambda pair: cost(pair[0], pair[1], inside, own, others, names))
        names.append(box)
        annotate(axes, point, place)


def cost(
    place: tuple[float, float], box: Bbox, inside: Bbox, own: Bbox, others: Sequence[Bbox], names: Sequence[Bbox]
) -> float:
    """Return how bad a place is for a point's name: what it would cover, whose it would seem, and how far off it is.

    Args:
        place: Where it would stand, in points from the marker.
        box: Pixels that it would take.
        inside: Pixels of the axes.
        own: Pixels of its marker.
        others: Pixels of the other markers.
        names: Pixels of the names that stand already.
    """
    covered = sum(overlap(box, other) for other in (own, *others, *names))
    outside = box.width * box.height - overlap(box, inside)
    mistaken = sum(distance(box, other) <= distance(box, own) for other in others)
    return 10 * covered + 10 * outside + 40 * mistaken + abs(place[0]) + abs(place[1])


def annotate(axes: Axes, point: Point, place: tuple[float, float]) -> Any:
    """Write a point's name at a place, with a thin line to its marker where it doesn't stand right beside it."""
    far = abs(place[0]) + abs(place[1]) > 10
    return axes.annotate(
        point.label, (point.seconds, point.percent), place, textcoords="offset points", fontsize=8,
        ha=("center", "left", "right")[side(place[0])], va=("center", "bottom", "top")[side(place[1])],
        color=STUDY if point.study else OURS, fontstyle="italic" if point.study else None,
        arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": "gray", "shrinkA": 0} if far else None,
    )  # fmt: skip


def side(offset: float) -> int:
    """Return the sign of an offset."""
    return (offset > 0) - (offset < 0)


def name_size(axes: Axes, point: Point) -> tuple[float, float]:
    """Return the width and height in pixels of a point's name."""
    text = annotate(axes, point, (0, 0))
    box = text.get_window_extent()
    text.remove()
    return box.width + 2, box.height + 2


def name_box(axes: Axes, marker: Bbox, size: tuple[float, float], place: tuple[float, float]) -> Bbox:
    """Return the pixels that a name of some size takes at a place."""
    figure = axes.get_figure(root=True)
    pixels_a_point = (figure.dpi if figure else 72) / 72
    middle = ((marker.x0 + marker.x1) / 2, (marker.y0 + marker.y1) / 2)
    x, y = (
        at + offset * pixels_a_point - length * (0.5, 0.0, 1.0)[side(offset)]
        for at, offset, length in zip(middle, place, size, strict=True)
    )
    return Bbox.from_bounds(x, y, *size)


def marker_box(axes: Axes, point: Point) -> Bbox:
    """Return the pixels that a marker and its bar take."""
    x, y = axes.transData.transform((point.seconds, point.percent))
    _, top = axes.transData.transform((point.seconds, point.percent + point.std))
    return Bbox.from_extents(x - 6, min(y - 6, 2 * y - top), x + 6, max(y + 6, top))


def overlap(one: Bbox, other: Bbox) -> float:
    """Return the area that two boxes share."""
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else both.width * both.height


def distance(box: Bbox, marker: Bbox) -> float:
    """Return the pixels between a box and a marker's middle."""
    x, y = (marker.x0 + marker.x1) / 2, (marker.y0 + marker.y1) / 2
    return math.hypot(max(box.x0 - x, x - box.x1, 0.0), max(box.y0 - y, y - box.y1, 0.0))
