"""Plot of a learning-rate range test, from plain arrays."""

from __future__ import annotations

from matplotlib.figure import Figure

from brain_tumor_tl.evaluation.ranking import Values
from brain_tumor_tl.reporting.palette import COLOURS


def rates_figure(rates: Values, losses: Values, smoothed: Values, suggestion: float | None, title: str) -> Figure:
    """Plot the loss over the learning rate, and where it falls fastest.

    Args:
        rates: Ascending, `(N,)`.
        losses: `(N,)`.
        smoothed: `(N,)`.
        suggestion: One of the rates; None to mark none.
        title: Title of the figure.
    """
    figure = Figure(figsize=(6.4, 4.2), dpi=100, layout="constrained")
    figure.suptitle(f"{title}, range test", fontsize=11)
    axes = figure.add_subplot(xscale="log", xlabel="learning rate of the head", ylabel="training loss")
    axes.plot(rates, losses, color="grey", linewidth=0.8, alpha=0.6, label="each step")
    axes.plot(rates, smoothed, color=COLOURS[0], label="smoothed")
    if suggestion is not None:
        axes.axvline(suggestion, color=COLOURS[1], linestyle="--", label=f"falls fastest at {suggestion:.2g}")
    if len(smoothed):
        axes.set_ylim(0, 2 * smoothed[0])  # a loss that diverges would hide where it falls
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
