"""Plots: matplotlib figures from plain arrays and dicts, drawn without a display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from brain_tumor_tl.files import write_bytes
from brain_tumor_tl.reporting.palette import COLOURS
from brain_tumor_tl.reporting.plots_curves import reliability_figure

FEW, ROOM = 7, 46  # classes, and characters in a row, up to which a confusion matrix has whole names and shares
LONGEST = 18  # characters of a name in a larger confusion matrix
LEGIBLE = 14  # side in points of the smallest cell whose count can be read


def confusion_figure(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> Figure:
    """Plot a confusion matrix: counts and, as text and shade, the share of each true class.

    If cells have no room for names and shares, names are abbreviated, the counts that are not 0 are written as long as
    they can be read, and the largest confusions are listed beside the matrix.

    Args:
        counts: Number of images, row = true class, column = predicted class.
        classes: Name of each class.
        title: Title of the plot.
    """
    matrix = np.asarray(counts)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    words = [name.replace("_", " ").split(" ") for name in classes]
    few = len(classes) <= FEW and len(classes) * max(len(word) for name in words for word in name) <= ROOM
    figure, axes, bar = few_classes(words) if few else many_classes(classes, largest_confusions(matrix, classes))
    cell = 72 * figure.get_figwidth() * axes.get_position().width / len(classes)  # its side in points
    gamma = 1 if cell > LEGIBLE else 0.5  # small cells are seen only if small shares are dark
    image = axes.imshow(share, cmap="Blues", norm=PowerNorm(gamma, vmin=0, vmax=1))
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, fontsize=11)
    for row, column in np.argwhere((matrix > 0) | few).tolist() if cell > LEGIBLE else ():
        text = f"{matrix[row, column]}\n{share[row, column]:.1%}" if few else str(matrix[row, column])
        color = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=min(10, 0.36 * cell))
    figure.colorbar(image, cax=bar, label="share of the true class")
    return figure


def few_classes(words: Sequence[Sequence[str]]) -> tuple[Figure, Axes, Axes]:
    """Return a figure for a matrix with room for the words of every name, and its axes for matrix and colours."""
    figure = Figure(figsize=(6.4, 5.6), dpi=100)
    # Margins by the longest word: a layout engine would double the time to draw.
    left = min(0.10 + 0.0125 * max(len(word) for name in words for word in name), 0.45)
    axes = figure.add_axes((left, 0.15, 0.84 - left, 0.77))
    ticks = ["\n".join(name) for name in words]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_yticks(range(len(ticks)), ticks)
    return figure, axes, figure.add_axes((0.87, 0.23, 0.03, 0.61))


def many_classes(classes: Sequence[str], listed: Sequence[str]) -> tuple[Figure, Axes, Axes]:
    """Return a figure whose size grows with the number of classes, and its axes for matrix and colours.

    Args:
        classes: Name of each class; of more than a hundred only every n-th is shown.
        listed: Lines beside the matrix.
    """
    side, left, bottom, right = float(np.clip(0.42 * len(classes), 4.7, 11)), 1.9, 1.9, 5.2  # inches
    width, height = left + side + right, bottom + side + 0.5
    figure = Figure(figsize=(width, height), dpi=100)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    shown = range(0, len(classes), -(-len(classes) // 100))
    names, size = [abbreviated(classes[place]) for place in shown], min(9, 54 * side / len(shown))
    axes.set_xticks(shown, names, rotation=90, fontsize=size)
    axes.set_yticks(shown, names, fontsize=size)
    beside = (left + side + 1.3) / width
    figure.text(beside, 1 - 0.5 / height, "\n".join(listed), va="top", fontsize=8, family="monospace")
    bar = figure.add_axes(((left + side + 0.2) / width, (bottom + side / 4) / height, 0.2 / width, side / 2 / height))
    return figure, axes, bar


def largest_confusions(matrix: NDArray[np.int64], classes: Sequence[str], most: int = 20) -> list[str]:
    """Return a heading and a line for each of the largest confusions: true class, prediction, images and their share.

    >>> largest_confusions(np.array([[8, 2, 0], [0, 5, 0], [1, 0, 0]]), ["a", "b", "c"])
    ['largest confusions: true, predicted, images, share', 'a                  b                     2  20.0 %', \
'c                  a                     1 100.0 %']
    """
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    lines = ["largest confusions: true, predicted, images, share" if wrong.any() else "no confusions"]
    for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[row, column]:
            share = 100 * wrong[row, column] / matrix[row].sum()
            names = f"{abbreviated(classes[row]):<{LONGEST}} {abbreviated(classes[column]):<{LONGEST}}"
            lines.append(f"{names} {wrong[row, column]:>4} {share:>5.1f} %")
    return lines


def abbreviated(name: str) -> str:
    """Return a name with at most `LONGEST` characters; what is left out is in the middle, since endings differ too.

    >>> abbreviated("glioma_tumor"), abbreviated("diffuse_midline_glioma_h3")
    ('glioma_tumor', 'diffuse_mi…ioma_h3')
    """
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 8]}…{name[-7:]}"


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
        for split_name, dashes, color in (("train", "--", COLOURS[1]), (monitored, "-", COLOURS[0])):
            key = f"{split_name}/{metric}"
            known = [row for row in rows if key in row]
            epochs, values = ([row[column] for row in known] for column in ("epoch", key))
            axes.plot(epochs, values, dashes, color=color, marker="o" if len(known) < 3 else None, label=split_name)
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # there is no epoch 2.5
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


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
        write_bytes(folder / f"{name}.png", png(figure))


def literal(figure: Figure) -> Figure:
    """Return a figure whose texts are shown as they are: between two $ a name would be a formula, or an error."""
    for text in figure.findobj(Text):
        if isinstance(text, Text) and "$" in text.get_text():
            text.set_parse_math(False)
    return figure


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure as an array `(H, W, 3)`."""
    canvas = FigureCanvasAgg(literal(figure))
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib's own
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def png(figure: Figure, dots_per_inch: int | None = None) -> bytes:
    """Return a figure as the content of a PNG file, always the same for the same figure.

    Args:
        figure: The figure.
        dots_per_inch: Its resolution, None for the figure's own.
    """
    content = io.BytesIO()
    literal(figure).savefig(content, format="png", dpi=dots_per_inch or "figure", metadata={"Software": None})
    return content.getvalue()
