"""Foldruns: the finished folds of one cross-validation, read from their folders: joined, or what keeps them apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from brain_tumor_tl.evaluation.crossval import Joined, join_folds
from brain_tumor_tl.evaluation.intervals import Interval, accuracy_interval
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.predictions import common_groups, read_groups, read_predictions


@dataclass(frozen=True)
class Folds:
    """How far a cross-validation is, and what its folds say together.

    Attributes:
        count: Folds that it has.
        missing: Folds without a finished run.
        joined: Predictions of all folds, None while they can't be joined.
        interval: 95 % interval of the joined accuracy.
        unit: What the interval takes for independent: `group` or `image`.
        problem: Why they aren't joined, an empty string where they are.
    """

    count: int
    missing: tuple[int, ...] = ()
    joined: Joined | None = None
    interval: Interval | None = None
    unit: str = "image"
    problem: str = ""


def fold_of(results: Mapping[str, Any]) -> int | None:
    """Return which fold of a cross-validation a run was tested on, None where it has no part in one."""
    fold: int | None = (results.get("protocol") or {}).get("fold")
    return fold


def read_folds(runs: Sequence[Run]) -> Folds | None:
    """Return what the runs of a group say together where they are folds of one cross-validation, None where not.

    Args:
        runs: Runs that differ in their fold alone, each fold at most once.
    """
    found = {fold for run in runs if (fold := fold_of(run.results)) is not None}
    if not found:
        return None
    count = int(runs[0].results["protocol"].get("folds") or max(found) + 1)
    missing = tuple(sorted(set(range(count)) - found))
    if missing:
        return Folds(count, missing, problem=f"fold {', '.join(map(str, missing))} missing")
    try:
        joined = join_folds([(run.results, list(read_predictions(run.folder).values())) for run in runs])
        interval, unit = joined_interval(joined, read_groups(runs[0].folder))
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:  # of a run that was made by hand
        return Folds(count, problem=f"not joined: {error}")
    return Folds(count, (), joined, interval, unit)


def joined_interval(joined: Joined, groups: Mapping[str, str]) -> tuple[Interval | None, str]:
    """Return the interval of the joined accuracy, and whether it takes groups or images for independent.

    Args:
        joined: Predictions of all folds.
        groups: Group of each image by path, empty where none are known.
    """
    known = common_groups(groups, [str(row["path"]) for row in joined.rows])
    return interval_of(tuple(int(row["correct"]) == 1 for row in joined.rows), None if known is None else tuple(known))


@lru_cache(maxsize=64)  # a sweep writes its report anew after each job, and resamples of 3264 images take 0.3 s
def interval_of(hits: tuple[bool, ...], groups: tuple[str, ...] | None) -> tuple[Interval | None, str]:
    """Return `accuracy_interval` of these images."""
    return accuracy_interval(np.array(hits), groups)
