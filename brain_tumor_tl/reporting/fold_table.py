"""Foldtable: each cross-validation as a row: its predictions joined, and its folds one by one."""

from __future__ import annotations

from collections.abc import Sequence

from brain_tumor_tl.reporting.aggregate import Group, spread
from brain_tumor_tl.reporting.folds import fold_of
from brain_tumor_tl.reporting.leaderboard import DASH, between, percent, with_std
from brain_tumor_tl.reporting.table import Table


def fold_table(groups: Sequence[Group]) -> Table | None:
    """Return a row for each group of folds, None where there is none."""
    folded = [group for group in groups if group.folds]
    if not folded:
        return None
    several = any(group.number for group in folded)
    headers = ["network", "method", *(["settings"] if several else []), "folds", "images", "joined", "95 % interval"]
    most = max(group.folds.count for group in folded if group.folds)
    headers += ["mean of the folds", *(f"fold {fold}" for fold in range(most)), "look-up", "missing"]
    rows = [fold_row(group, several, most) for group in folded]
    return Table(
        "Accuracy of all out-of-fold predictions joined, and of the folds, percent", tuple(headers), tuple(rows)
    )


def fold_row(group: Group, several: bool, most: int) -> tuple[str, ...]:
    """Return the cells of one cross-validation.

    Args:
        group: Its runs.
        several: Whether there is a column of settings.
        most: Number of columns of folds.
    """
    folds, joined = group.folds, group.folds and group.folds.joined
    done = {fold_of(run.results): float(run.results["accuracy"]) for run in group.runs}
    missing = ", ".join(map(str, folds.missing)) if folds else ""
    return (
        *(group.model, group.method, *([group.label] if several else [])),
        group.repeats.removesuffix(" folds"),
        str(len(joined.rows)) if joined else DASH,
        percent(joined.accuracy) if joined else DASH,
        between(folds.interval if folds else None),
        with_std(spread(list(done.values()))),
        *(percent(done.get(fold)) for fold in range(most)),
        percent(joined.nearest_neighbour) if joined else DASH,
        missing or DASH,
    )
