"""Run figures: all plots of one run, in a size for a paper, drawn on its page and written to files."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from brain_tumor_tl.files import write_bytes, write_text
from brain_tumor_tl.reporting.page import Drawing
from brain_tumor_tl.reporting.plots import confusion_figure, curves_figure, png
from brain_tumor_tl.reporting.plots_curves import precision_recall_figure, reliability_figure, roc_figure
from brain_tumor_tl.reporting.run_files import RunFiles
from brain_tumor_tl.reporting.svg import inline, svg_text

DOTS_PER_INCH = 300
COLUMN, PAGE = 3.4, 7.0  # inches: one column of a paper, and both


def run_figures(files: RunFiles) -> dict[str, Figure]:
    """Return the figures of a run by name; those that it has no numbers for are left out."""
    results = files.results
    title = "SYNTHETIC images" if results["protocol"]["synthetic"] else ""
    bins, probabilities, classes = results.get("probabilities"), files.probabilities, files.classes
    found: dict[str, Figure] = {}
    with small_text():
        if files.epochs:
            found["curves"] = sized(curves_figure(files.epochs, files.monitored, title), PAGE, 2.8)
        if results.get("confusion_matrix"):
            found["confusion_matrix"] = confusion_figure(results["confusion_matrix"], classes, title)
        if probabilities is not None:
            below = 3.8 + 0.15 * min(len(classes), 8) + 0.25 * bool(title)  # room for the legend and the title
            found["roc"] = sized(roc_figure(files.labels, probabilities, classes, title), COLUMN, below)
            found["precision_recall"] = sized(
                precision_recall_figure(files.labels, probabilities, classes, title), COLUMN, below
            )
        if bins:
            scaled = bins["calibrated"] and bins["calibrated"]["reliability"]
            found["reliability"] = sized(reliability_figure(bins["reliability"], scaled, title), COLUMN, 4.1)
    return found


def small_text() -> AbstractContextManager[None]:
    """Return a context in which figures get text of 8 points, as captions of a paper have."""
    return rc_context({"font.size": 8, "legend.fontsize": 7.5, "figure.titlesize": 8, "axes.titlesize": 8})


def sized(figure: Figure, width: float, height: float) -> Figure:
    """Return a figure with another size in inches."""
    figure.set_size_inches(width, height)
    return figure


def drawings(figures: dict[str, Figure], alts: dict[str, str]) -> dict[str, Drawing]:
    """Return figures as parts of a page.

    Args:
        figures: By name.
        alts: What is seen on each, in words, for readers who can't see it.
    """
    return {
        name: Drawing(inline(svg_text(figure, name)), alts[name], width=round(115 * figure.get_figwidth()))
        for name, figure in figures.items()
        if name in alts
    }


def write_figures(figures: dict[str, Figure], place: Path) -> None:
    """Write figures as SVG and as PNG into a folder."""
    place.mkdir(exist_ok=True)
    for name, figure in figures.items():
        write_text(place / f"{name}.svg", svg_text(figure, name))
        write_bytes(place / f"{name}.png", png(figure, DOTS_PER_INCH))
