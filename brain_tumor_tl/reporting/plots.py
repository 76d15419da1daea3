"""Plots: figures from plain arrays and dicts, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from brain_tumor_tl.evaluation.calibration import calibration_error
from brain_tumor_tl.evaluation.intervals import wilson_interval
from brain_tumor_tl.files import replacing


def plain_name(name: str) -> str:
    """Return a class's name as a reader has it.

    >>> plain_name("pituitary_tumor")
    'pituitary tumor'
    """
    return name.replace("_", " ")


def confusion_figure(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix: counts and, as shade, the share of each true class.

    Args:
        counts: Images, row = true class, column = predicted class.
        classes: Name of each class.
        title: What stands above it.
    """
    matrix = np.asarray(counts)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.4, 5.6), dpi=100)
    ticks = [plain_name(name).replace(" ", "\n") for name in classes]
    # Margins by the longest word: to have matplotlib lay the figure out takes as long as drawing it.
    left = min(0.10 + 0.0125 * max(len(word) for tick in ticks for word in tick.split("\n")), 0.45)
    axes = figure.add_axes((left, 0.15, 0.84 - left, 0.77))
    shades = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_yticks(range(len(ticks)), ticks)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=11)
    for row, column in np.ndindex(*matrix.shape):
        text = f"{matrix[row, column]}\n{share[row, column]:.1%}"
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            color="white" if share[row, column] > 0.5 else "black",
        )
    figure.colorbar(shades, cax=figure.add_axes((0.87, 0.23, 0.03, 0.61)), label="share of the true class")
    return figure


def curves_figure(rows: Sequence[Mapping[str, Any]], monitored: str, title: str) -> Figure:
    """Draw loss and accuracy over the epochs, training beside the monitored part.

    Args:
        rows: One for each epoch, with `epoch`, `train/loss`, `<monitored>/loss` and the accuracies.
        monitored: "val" or "test".
        title: What stands above it.
    """
    figure = Figure(figsize=(9.6, 4.0), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for part, style in (("train", "--"), (monitored, "-")):
            points = [(row["epoch"], row[f"{part}/{metric}"]) for row in rows if f"{part}/{metric}" in row]
            epochs, values = zip(*points, strict=True) if points else ((), ())
            axes.plot(epochs, values, style, marker="o" if len(points) < 3 else None, label=part)
        axes.set_xlabel("epoch")
        axes.set_ylabel(metric)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def reliability_figure(
    rows: Sequence[Mapping[str, Any]], calibrated: Sequence[Mapping[str, Any]] | None, title: str
) -> Figure:
    """Draw accuracy over confidence, bin by bin with its 95 % interval, and below how many images each bin has.

    After DeGroot, Fienberg 1983 (Statistician 32:12). Points below the diagonal are of probabilities that claim too
    much.

    Args:
        rows: One for each bin, as `calibration.reliability_rows` returns them.
        calibrated: The same after temperature scaling, None where there was no validation part for it.
        title: What stands above it.
    """
    figure = Figure(figsize=(5.6, 6.8), dpi=100, layout="constrained")
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot((0, 1), (0, 1), "--", color="grey", linewidth=1, label="confidence = accuracy")
    series = {"as trained": rows} | ({} if calibrated is None else {"temperature scaled": calibrated})
    for color, (name, table) in zip(("tab:blue", "tab:orange"), series.items(), strict=False):
        draw_reliability(axes, table, color, name)
        edges = [row["low"] for row in table] + [row["high"] for row in table[-1:]]
        if table:
            counts.stairs([row["images"] for row in table], edges, color=color)
    figure.suptitle(title, fontsize=11)
    axes.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02))
    counts.set(xlabel="confidence: probability of the predicted class", ylabel="images")
    figure.legend(loc="outside lower center", frameon=False)  # any corner inside may have points
    for each in (axes, counts):
        each.grid(alpha=0.3)
    return figure


def draw_reliability(axes: Axes, rows: Sequence[Mapping[str, Any]], color: str, name: str) -> None:
    """Draw a point with its interval for each bin that has images, the expected calibration error in the legend."""
    filled = [row for row in rows if row["images"]]
    ends = [wilson_interval(row["right"], row["images"]) or [0.0, 1.0] for row in filled]
    confidence, accuracy = ([row[key] for row in filled] for key in ("confidence", "accuracy"))
    around = [[value - low for value, (low, _) in zip(accuracy, ends, strict=True)]]
    around += [[high - value for value, (_, high) in zip(accuracy, ends, strict=True)]]
    error = calibration_error(rows)
    label = name if error is None else f"{name}, calibration error {error:.3f}"
    axes.errorbar(
        confidence, accuracy, around, fmt="o-", color=color, markersize=4, capsize=2, linewidth=1, label=label
    )


def save_run_figures(
    folder: Path, results: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], monitored: str
) -> None:
    """Write the figures of a run's folder.

    Args:
        folder: The run's folder.
        results: What its `results.json` holds.
        rows: One for each epoch.
        monitored: "val" or "test".
    """
    title = f"{results['name']}, test part" + (", SYNTHETIC images" if results["protocol"]["synthetic"] else "")
    found = results["probabilities"]
    scaled = found["calibrated"] and found["calibrated"]["reliability"]
    save(confusion_figure(results["confusion_matrix"], results["classes"], title), folder / "confusion_matrix.png")
    save(curves_figure(rows, monitored, title), folder / "curves.png")
    save(reliability_figure(found["reliability"], scaled, title), folder / "reliability.png")


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as `(H, W, 3)`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's own
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
