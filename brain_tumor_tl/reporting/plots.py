"""Plots: matplotlib figures from plain arrays and dicts, drawn without a display."""

from __future__ import annotations

import io
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


def confusion_figure(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> Figure:
    """Plot a confusion matrix: counts and, as text and shade, the share of each true class.

    Args:
        counts: Number of images, row = true class, column = predicted class.
        classes: Name of each class.
        title: Title of the plot.
    """
    matrix = np.asarray(counts)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.4, 5.6), dpi=100)
    words = [name.split("_") for name in classes]
    # Margins by the longest word: a layout engine would double the time to draw.
    left = min(0.10 + 0.0125 * max(len(word) for name in words for word in name), 0.45)
    axes = figure.add_axes((left, 0.15, 0.84 - left, 0.77))
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ticks = ["\n".join(name) for name in words]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_yticks(range(len(ticks)), ticks)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=11)
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count}\n{share[row, column]:.1%}", ha="center", va="center", color=color)
    figure.colorbar(image, cax=figure.add_axes((0.87, 0.23, 0.03, 0.61)), label="share of the true class")
    return figure


def curves_figure(rows: Sequence[Mapping[str, Any]], monitored: str, title: str) -> Figure:
    """Plot loss and accuracy over the epochs, of the training split and of the monitored one.

    Args:
        rows: One for each epoch, with `epoch`, `train/loss`, `<monitored>/loss` and the accuracies.
        monitored: "val" or "test".
        title: Title of the figure.
    """
    figure = Figure(figsize=(9.6, 4.0), dpi=100, layout="constrained")
    figure.suptitle(title, fontsize=11)
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split_name, style in (("train", "--"), (monitored, "-")):
            key = f"{split_name}/{metric}"
            known = [row for row in rows if key in row]
            epochs, values = ([row[column] for row in known] for column in ("epoch", key))
            axes.plot(epochs, values, style, marker="o" if len(known) < 3 else None, label=split_name)
        axes.set(xlabel="epoch", ylabel=metric)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


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
    for color, name, bins in (("tab:blue", "as trained", rows), ("tab:orange", "temperature scaled", calibrated)):
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


def save_run_figures(
    folder: Path, results: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], monitored: str
) -> None:
    """Write the figures of a run's folder.

    Args:
        folder: The run's folder.
        results: Content of its `results.json`.
        rows: One for each epoch.
        monitored: "val" or "test".
    """
    title = f"{results['name']}, test split" + (", SYNTHETIC images" if results["protocol"]["synthetic"] else "")
    found = results["probabilities"]
    scaled = found["calibrated"] and found["calibrated"]["reliability"]
    figures = {
        "confusion_matrix": confusion_figure(results["confusion_matrix"], results["classes"], title),
        "curves": curves_figure(rows, monitored, title),
        "reliability": reliability_figure(found["reliability"], scaled, title),
    }
    for name, figure in figures.items():
        with replacing(folder / f"{name}.png") as path:
            path.write_bytes(png(figure))


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as an array `(H, W, 3)`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's own
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def png(figure: Figure, dots_per_inch: int | None = None) -> bytes:
    """Return a figure as the content of a PNG file, always the same for the same figure.

    Args:
        figure: The figure.
        dots_per_inch: Its resolution, None for the figure's own.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dots_per_inch or "figure", metadata={"Software": None})
    return content.getvalue()
