"""Fold table: a row for each cross-validation, with its joined predictions and its single folds."""

from __future__ import annotations

from collections.abc import Sequence

from brain_tumor_tl.reporting.aggregate import RunGroup, spread
from brain_tumor_tl.reporting.folds import Folds, fold_of
from brain_tumor_tl.reporting.leaderboard import DASH, between, percent, with_std
from brain_tumor_tl.reporting.table import Table, compact_table


def fold_table(groups: Sequence[RunGroup]) -> Table | None:
    """Return a row for each group of folds, None if there is none."""
    folded = [(group, group.folds) for group in groups if group.folds]
    if not folded:
        return None
    most = max(folds.count for _, folds in folded)
    headers = ["network", "method", "settings", "folds", "images", "joined", "95 % interval", "mean of the folds"]
    headers += [*(f"fold {fold}" for fold in range(most)), "1-NN", "missing"]
    rows = [fold_row(group, folds, most) for group, folds in folded]
    return compact_table("Accuracy of all out-of-fold predictions joined, and of each fold, percent", headers, rows)


def fold_row(group: RunGroup, folds: Folds, most: int) -> list[str]:
    """Return the cells of one cross-validation.

    Args:
        group: Its runs.
        folds: Its folds.
        most: Number of columns of folds.
    """
    accuracies = {fold_of(run.results): float(run.results["accuracy"]) for run in group.runs}
    joined = folds.joined
    return [
        *(group.model, group.method, group.label, group.repeats.removesuffix(" folds")),
        *((str(len(joined.rows)), percent(joined.accuracy)) if joined else (DASH, DASH)),
        *(between(folds.interval), with_std(spread(list(accuracies.values())))),
        *(percent(accuracies.get(fold)) for fold in range(most)),
        percent(joined.nearest_neighbour if joined else None),
        ", ".join(map(str, folds.missing)) or DASH,
    ]
