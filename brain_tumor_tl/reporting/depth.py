"""Depth: accuracy and time against the share of a network's layers that learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from brain_tumor_tl.reporting.aggregate import RunGroup, Spread
from brain_tumor_tl.reporting.leaderboard import between, percent, seconds_per_epoch, with_std
from brain_tumor_tl.reporting.table import Table, compact_table

FEWEST = 3  # depths of a network that make a plot
OF_METHOD = ("method", "precision")  # settings of the method; `auto` chooses the precision by it


class Depth(NamedTuple):
    """The runs of a network in which the same share of its layers learns.

    Attributes:
        title: The network, and the settings in which it differs from others of the report, but for the method.
        share: Of its layers with weights those that learn; 0 if only the head does.
        place: The first module that learns.
        group: The runs.
    """

    title: str
    share: float
    place: str
    group: RunGroup


def depths(groups: Sequence[RunGroup]) -> dict[str, list[Depth]]:
    """Return the groups of each network and other settings by the share of layers that learn, by their title.

    Only those with three shares or more: fewer make no plot.
    """
    found: dict[str, list[Depth]] = {}
    for group in groups:
        learning = group.runs[0].results.get("learning")  # which runs of earlier versions lack
        method = (group.runs[0].results.get("config") or {}).get("method") or {}
        if learning and not method.get("stages"):
            title = title_of(group)
            found.setdefault(title, []).append(Depth(title, learning["layers"], learning["from"], group))
    several = {title: some for title, some in found.items() if len({depth.share for depth in some}) >= FEWEST}
    return {title: sorted(some, key=lambda depth: depth.share) for title, some in several.items()}


def title_of(group: RunGroup) -> str:
    """Return a network's name and the settings in which it differs from others, but for those of the method."""
    others = [f"{key}={value}" for key, value in group.differing.items() if key.split(".")[0] not in OF_METHOD]
    return ", ".join([group.model, *others])


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
    return compact_table(f"{found[0].title}: how deep to transfer", headers, rows)


def bars(depth: Depth) -> tuple[float, float]:
    """Return by how much the accuracy may be lower and higher: the 95 % interval, or the std of several runs."""
    accuracy: Spread = depth.group.accuracy
    if interval := depth.group.interval[0]:
        return accuracy.mean - interval[0], interval[1] - accuracy.mean
    return accuracy.std or 0.0, accuracy.std or 0.0
