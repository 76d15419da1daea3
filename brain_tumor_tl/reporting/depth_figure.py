"""Depth figure: how the accuracy and the time of an epoch depend on the share of layers that learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from brain_tumor_tl.reporting.depth import Depth, bars
from brain_tumor_tl.reporting.leaderboard import seconds_per_epoch
from brain_tumor_tl.reporting.palette import COLOURS


def depth_figure(found: Sequence[Depth], note: str = "") -> Figure:
    """Plot accuracy, with its interval, and seconds per epoch against the share of layers that learn.

    Args:
        found: The depths of one network, by their share.
        note: Text to add to the title.
    """
    figure = Figure(figsize=(5.6, 5.2), dpi=100)
    accuracy, time = figure.add_axes((0.13, 0.47, 0.84, 0.46)), figure.add_axes((0.13, 0.11, 0.84, 0.28))
    shares = [100 * depth.share for depth in found]
    ends = [[100 * bars(depth)[side] for depth in found] for side in (0, 1)]
    means = [100 * depth.group.accuracy.mean for depth in found]
    style: dict[str, Any] = {"marker": "o", "ms": 5, "lw": 1.2, "color": COLOURS[0]}
    accuracy.errorbar(shares, means, ends, capsize=3, elinewidth=1, **style)
    for depth, share, mean in zip(found, shares, means, strict=True):
        side = "right" if share > 80 else "left"
        offset = (-5 if side == "right" else 5, 6)
        accuracy.annotate(depth.place, (share, mean), offset, textcoords="offset points", fontsize=7, ha=side)
    timed = [(100 * depth.share, spread.mean) for depth in found if (spread := depth.group.spread(seconds_per_epoch))]
    if timed:
        time.plot(*zip(*timed, strict=True), **style)
    accuracy.set(ylabel="accuracy, percent", xlim=(-4, 104))
    accuracy.tick_params(labelbottom=False)
    accuracy.set_title(f"{found[0].title}{note}", fontsize=11)
    time.set(xlabel="layers of the backbone that learn, percent", ylabel="seconds per epoch", xlim=(-4, 104))
    time.set_ylim(bottom=0)
    for axes in (accuracy, time):
        axes.grid(alpha=0.25)
    return figure
