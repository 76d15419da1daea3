"""Folds: join the finished folds of a cross-validation from their folders, or say why they can't be joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from brain_tumor_tl.evaluation.crossval import Joined, join_folds
from brain_tumor_tl.evaluation.intervals import Interval, accuracy_interval
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.predictions import read_predictions, read_units


@dataclass(frozen=True)
class Folds:
    """The folds of one cross-validation.

    Attributes:
        count: Number of folds that it should have.
        missing: Folds without a finished run.
        joined: Predictions of all folds, None if they can't be joined.
        interval: 95 % interval of the joined accuracy.
        unit: What the interval takes as independent: `patient`, `group` or `image`.
        problem: Why the folds are not joined, an empty string if they are.
    """

    count: int
    missing: tuple[int, ...] = ()
    joined: Joined | None = None
    interval: Interval | None = None
    unit: str = "image"
    problem: str = ""


def fold_of(results: Mapping[str, Any]) -> int | None:
    """Return the fold that a run was tested on, None if it is no run of a cross-validation."""
    fold: int | None = (results.get("protocol") or {}).get("fold")
    return fold


def read_folds(runs: Sequence[Run]) -> Folds | None:
    """Return the folds that some runs are, None if they are no runs of a cross-validation.

    Args:
        runs: Runs that differ only in their fold, at most one of each fold.
    """
    found = {fold for run in runs if (fold := fold_of(run.results)) is not None}
    if not found:
        return None
    count = int(runs[0].results["protocol"].get("folds") or max(found) + 1)
    missing = tuple(fold for fold in range(count) if fold not in found)
    if missing:
        return Folds(count, missing, problem=f"fold {', '.join(map(str, missing))} missing")
    try:
        joined = join_folds([(run.results, list(read_predictions(run.folder).values())) for run in runs])
        groups, unit = read_units(runs[0].folder, [str(row["path"]) for row in joined.rows])
        hits = tuple(int(row["correct"]) == 1 for row in joined.rows)
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:  # files that were edited or damaged
        return Folds(count, problem=f"not joined: {error}")
    return Folds(count, (), joined, *interval_of(hits, tuple(groups) if groups else None, unit))


@lru_cache(maxsize=64)  # a sweep rewrites its report after each job, and resampling 3264 images takes 0.3 s
def interval_of(hits: tuple[bool, ...], groups: tuple[str, ...] | None, unit: str) -> tuple[Interval | None, str]:
    """Return `accuracy_interval` of these images, cached."""
    return accuracy_interval(np.array(hits), groups, unit)
