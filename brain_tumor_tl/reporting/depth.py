"""Depth: accuracy and time against the share of a network's layers that learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from brain_tumor_tl.reporting.aggregate import RunGroup, Spread
from brain_tumor_tl.reporting.leaderboard import between, percent, seconds_per_epoch, with_std
from brain_tumor_tl.reporting.table import Table, compact_table

FEWEST = 3  # depths of a network that make a plot


class Depth(NamedTuple):
    """The runs of a network in which the same share of its layers learns.

    Attributes:
        model: The network.
        share: Of its layers with weights those that learn; 0 if only the head does.
        place: The first module that learns.
        group: The runs.
    """

    model: str
    share: float
    place: str
    group: RunGroup


def depths(groups: Sequence[RunGroup]) -> dict[str, list[Depth]]:
    """Return the groups of each network by the share of layers that learn; no network with less than three of them."""
    found: dict[str, list[Depth]] = {}
    for group in groups:
        learning = group.runs[0].results.get("learning")  # which runs of earlier versions lack
        method = (group.runs[0].results.get("config") or {}).get("method") or {}
        if learning and not method.get("stages"):
            depth = Depth(group.model, learning["layers"], learning["from"], group)
            found.setdefault(group.model, []).append(depth)
    several = {model: some for model, some in found.items() if len({depth.share for depth in some}) >= FEWEST}
    return {model: sorted(some, key=lambda depth: depth.share) for model, some in several.items()}


def depth_table(found: Sequence[Depth]) -> Table:
    """Return a row for each depth of a network."""
    rows = [
        (
            percent(depth.share, 0),
            depth.place,
            with_std(depth.group.accuracy),
            between(depth.group.interval[0]),
            with_std(depth.group.spread(seconds_per_epoch), factor=1),
            f"{depth.group.runs[0].results['learning']['parameters']:,}",
            depth.group.repeats,
        )
        for depth in found
    ]
    headers = (
        "layers that learn, %", "from", "accuracy, %", "95 % interval", "seconds per epoch", "parameters that learn",
        "runs",
    )  # fmt: skip
    return compact_table(f"{found[0].model}: how deep to transfer", headers, rows)


def bars(depth: Depth) -> tuple[float, float]:
    """Return by how much the accuracy may be lower and higher: the 95 % interval, or the std of several runs."""
    accuracy: Spread = depth.group.accuracy
    if interval := depth.group.interval[0]:
        return accuracy.mean - interval[0], interval[1] - accuracy.mean
    return accuracy.std or 0.0, accuracy.std or 0.0
