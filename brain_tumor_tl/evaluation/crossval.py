"""Cross-validation: the folds' test predictions joined, each image predicted by a run that didn't train on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Joined:
    """Out-of-fold predictions.

    Attributes:
        rows: A row of `predictions.csv` for each image, with its `fold`, sorted by path.
        accuracy: Share of all images that were predicted correctly.
        nearest_neighbour: Mean of the folds' 1-NN baselines, None if one of them is not known.
    """

    rows: tuple[Mapping[str, Any], ...]
    accuracy: float
    nearest_neighbour: float | None


def join_folds(runs: Sequence[tuple[Mapping[str, Any], Rows]]) -> Joined:
    """Join the test predictions of all folds of one cross-validation.

    Args:
        runs: Contents of `results.json` and the rows of `predictions.csv` of each fold's run, in any order. Their
            settings, data and weights are the same but for the fold, which is what `group_runs` sees to.

    Raises:
        ValueError: The runs are not the folds of a cross-validation, each once.
    """
    check_folds([run for run, _ in runs])
    ordered = sorted(runs, key=lambda run: int(run[0]["protocol"]["fold"]))
    rows = [{**row, "fold": run["protocol"]["fold"]} for run, predictions in ordered for row in predictions]
    repeated = [path for path, count in Counter(row["path"] for row in rows).items() if count > 1]
    if repeated:
        raise ValueError(f"Expected each image in one fold, {len(repeated)} are in several, such as {repeated[0]}.")
    baselines = [run["protocol"].get("nearest_neighbour") for run, _ in runs]
    return Joined(
        tuple(sorted(rows, key=lambda row: str(row["path"]))),
        sum(int(row["correct"]) for row in rows) / len(rows),
        None if None in baselines else sum(baselines) / len(baselines),
    )


def check_folds(results: Sequence[Mapping[str, Any]]) -> None:
    """Raise a ValueError unless runs are the folds of a cross-validation, each once."""
    others = [str(run["name"]) for run in results if run["protocol"].get("fold") is None]
    if others or not results:
        raise ValueError(f"Expected runs with data.split=kfold, got {', '.join(others) or 'none'}.")
    counts = Counter(int(run["protocol"]["fold"]) for run in results)
    missing = [fold for fold in range(int(results[0]["protocol"]["folds"])) if not counts[fold]]
    problems = [f"fold {fold} is missing, train it with data.fold={fold}" for fold in missing]
    problems += [f"fold {fold} has {count} runs" for fold, count in counts.items() if count > 1]
    if problems:
        raise ValueError(f"Expected one run of each fold: {'; '.join(problems)}.")
