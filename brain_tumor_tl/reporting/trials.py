"""Trials: the runs of a search by their validation metric; only the chosen one's test results are reported."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.table import Table, make_table


def by_search(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the trials of each search, that is of a folder and metric, the best first; of equals the first by name."""
    found: dict[tuple[Path, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: str(run.results["name"])):
        if trial := run.results.get("trial"):
            found.setdefault((run.folder.parent.resolve(), trial["metric"]), []).append(run)
    for (_, metric), trials in found.items():
        sign = 1 if metric.endswith("loss") else -1
        trials.sort(key=lambda run: math.inf if value_of(run) is None else sign * value_of(run))
    return list(found.values())


def value_of(run: Run) -> Any:
    """Return a trial's value of the metric that its search optimises, None if it is not finite."""
    return run.results["trial"]["value"]


def without_others(runs: Sequence[Run]) -> list[Run]:
    """Return the runs without the trials that their search didn't choose, whose test figures nobody should compare."""
    others = [run.folder for trials in by_search(runs) for run in trials[1:]]
    return [run for run in runs if run.folder not in others]


def trial_table(trials: Sequence[Run]) -> Table:
    """Return the table of a search's trials.

    Args:
        trials: The trials, the best first.
    """
    metric = trials[0].results["trial"]["metric"]
    values = [None if value_of(run) is None else f"{value_of(run):.4f}" for run in trials]
    rows = [(run.results["name"], run.results["epochs"], value) for run, value in zip(trials, values, strict=True)]
    note = "The search ranks its trials on the validation split. Only the first one's test results are shown."
    return make_table(f"Trials of a search by {metric}, the best first", ("trial", "epochs", metric), rows, (note,))
