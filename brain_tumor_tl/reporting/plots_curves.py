"""Plots of curves: ROC, precision-recall and reliability of a test split, from plain arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brain_tumor_tl.evaluation.calibration import calibration_error
from brain_tumor_tl.evaluation.curves import precision_recall_points, roc_points
from brain_tumor_tl.evaluation.intervals import wilson_interval
from brain_tumor_tl.evaluation.ranking import Labels, Values, auroc, average_precision
from brain_tumor_tl.reporting.palette import COLOURS, DASHES

Curve = tuple[Values, Values, float, str]  # x, y, the area under it and the class


def roc_figure(labels: Labels, probabilities: Values, classes: Sequence[str], title: str) -> Figure:
    """Plot the ROC curve of each class against the rest, with its area.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
        title: Title of the figure.
    """
    curves = []
    for name, scores, positive in each_against_the_rest(labels, probabilities, classes):
        curves.append((*roc_points(scores, positive), float(auroc(scores, positive)[0]), name))
    figure, axes = square_figure(title, "false positive rate (1 - specificity)", "true positive rate (sensitivity)")
    axes.plot((0, 1), (0, 1), "--", color="grey", linewidth=1, label="chance")
    plot_curves(axes, curves, "AUROC")
    return figure


def precision_recall_figure(labels: Labels, probabilities: Values, classes: Sequence[str], title: str) -> Figure:
    """Plot precision over recall of each class against the rest in steps, with the average precision.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
        title: Title of the figure.
    """
    curves = []
    for name, scores, positive in each_against_the_rest(labels, probabilities, classes):
        recall, precision = precision_recall_points(scores, positive)
        area = average_precision(scores, positive)
        curve = np.append(0, recall), np.append(precision[:1], precision)  # from a recall of 0
        curves.append((*curve, np.nan if area is None else area, name))
    figure, axes = square_figure(title, "recall (sensitivity)", "precision (positive predictive value)")
    plot_curves(axes, curves, "average precision", drawstyle="steps-pre")
    return figure


def each_against_the_rest(
    labels: Labels, probabilities: Values, classes: Sequence[str]
) -> Iterator[tuple[str, Values, NDArray[np.bool_]]]:
    """Yield each class, its probability for each image `(N,)`, and whether the image is of that class `(N,)`."""
    for place, name in enumerate(classes):
        yield name, probabilities[:, place], labels == place


def square_figure(title: str, horizontal: str, vertical: str) -> tuple[Figure, Axes]:
    """Return a figure and its axes, from 0 to 1 in both directions."""
    figure = Figure(figsize=(5.6, 6.4), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.add_subplot(aspect="equal", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set(xlabel=horizontal, ylabel=vertical)
    axes.grid(alpha=0.3)
    return figure, axes


def plot_curves(axes: Axes, curves: Sequence[Curve], area: str, **style: Any) -> None:
    """Plot the curves of the classes that have one, the smallest areas in colour; the legend is below the axes.

    Args:
        axes: Of `square_figure`.
        curves: Of each class; without points and with NaN as their area if there is no curve.
        area: What the area is called.
        style: Further arguments of every line.
    """
    known = sorted((curve for curve in curves if np.isfinite(curve[2])), key=lambda curve: curve[2])
    shown = {curve[3] for curve in known[: len(COLOURS)]}
    others = [curve for curve in known if curve[3] not in shown]
    for place, (x, y, *_) in enumerate(others):
        label = None if place else f"{len(others)} classes with a larger {area}"
        axes.plot(x, y, color="silver", linewidth=0.8, label=label, **style)
    looks = zip(COLOURS, cycle(DASHES), strict=False)
    of_class = [curve for curve in curves if curve[3] in shown]  # in the order of the classes
    for (x, y, value, name), (color, dashes) in zip(of_class, looks, strict=False):
        axes.plot(x, y, dashes, color=color, label=f"{name}, {area} {value:.3f}", **style)
    if without := [curve[3] for curve in curves if not np.isfinite(curve[2])]:
        axes.plot([], [], " ", label=f"no curve: {', '.join(without)}")
    axes.figure.legend(loc="outside lower center", frameon=False)  # any corner inside may have curves


def reliability_figure(
    rows: Sequence[Mapping[str, Any]], calibrated: Sequence[Mapping[str, Any]] | None, title: str
) -> Figure:
    """Plot accuracy over confidence for each bin, with its 95 % interval, above the number of images in each bin.

    After DeGroot, Fienberg 1983 (Statistician 32:12). Points below the diagonal are overconfident.

    Args:
        rows: One for each bin, from `calibration.reliability_rows`.
        calibrated: The same after temperature scaling, None without a validation split.
        title: Title of the figure.
    """
    figure = Figure(figsize=(5.6, 6.8), dpi=100, layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot((0, 1), (0, 1), "--", color="grey", linewidth=1, label="confidence = accuracy")
    for color, name, bins in ((COLOURS[0], "as trained", rows), (COLOURS[1], "temperature scaled", calibrated)):
        if bins is not None:
            plot_reliability(axes, bins, color, name)
        if bins:
            edges = [bins[0]["low"], *(row["high"] for row in bins)]
            counts.stairs([row["images"] for row in bins], edges, color=color)
    figure.suptitle(title, fontsize=11)
    axes.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    counts.set(xlabel="confidence: probability of the predicted class", ylabel="images")
    figure.legend(loc="outside lower center", frameon=False)  # any corner inside may have points
    for each in (axes, counts):
        each.grid(alpha=0.3)
    return figure


def plot_reliability(axes: Axes, rows: Sequence[Mapping[str, Any]], color: str, name: str) -> None:
    """Plot a point with its interval for each bin with images; the legend has the expected calibration error."""
    filled = [row for row in rows if row["images"]]
    confidence, accuracy = ([row[key] for row in filled] for key in ("confidence", "accuracy"))
    ends = [wilson_interval(row["right"], row["images"]) or (0.0, 1.0) for row in filled]
    lengths = np.abs(np.reshape(ends, (-1, 2)).T - accuracy)
    error = calibration_error(rows)
    label = name if error is None else f"{name}, calibration error {error:.3f}"
    axes.errorbar(confidence, accuracy, lengths, fmt="o-", color=color, ms=4, capsize=2, linewidth=1, label=label)
