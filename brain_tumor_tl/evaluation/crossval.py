"""Crossval: folds joined, so that every image is predicted once, by a run that didn't learn from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Rows = Sequence[Mapping[str, Any]]
# Settings in which the folds of one cross-validation may differ; of the images the digest counts, not the folder.
OF_A_FOLD = ("name", "sweep", "force", "launcher", "confusion_every")
OF_THE_DATA = ("fold", "cache_dir", "root", "url")
OF_THE_TRAINER = ("enable_progress_bar", "profiler", "detect_anomaly")


@dataclass(frozen=True)
class Joined:
    """Out-of-fold predictions.

    Attributes:
        rows: A row of `predictions.csv` for each image, with `fold` besides, in the order of paths.
        accuracy: Share of all images that were predicted right.
        by_fold: Accuracy of each fold.
        std: Sample std of `by_fold`. Folds share training images, so it is no standard error.
        lookup: Mean of the folds' nearest-neighbour baselines; None where one is not known.
    """

    rows: tuple[Mapping[str, Any], ...]
    accuracy: float
    by_fold: tuple[float, ...]
    std: float
    lookup: float | None


def join_folds(runs: Sequence[tuple[Mapping[str, Any], Rows]]) -> Joined:
    """Join the test predictions of all folds of one cross-validation.

    Args:
        runs: Contents of `results.json` and the rows of `predictions.csv` of each fold's run, in any order.

    Raises:
        ValueError: The runs are not the folds of one cross-validation, each once.
    """
    results = [run for run, _ in runs]
    refuse_other_runs(results)
    ordered = sorted(runs, key=lambda run: int(run[0]["protocol"]["fold"]))
    rows = [{**row, "fold": run["protocol"]["fold"]} for run, predictions in ordered for row in predictions]
    often = [path for path, count in Counter(row["path"] for row in rows).items() if count > 1]
    if often:
        raise ValueError(f"Expected each image in one fold, {len(often)} are in several, such as {often[0]}.")
    right = [[int(row["correct"]) for row in predictions] for _, predictions in ordered]
    by_fold = tuple(sum(fold) / len(fold) for fold in right)
    lookups = [run["protocol"].get("nearest_neighbour") for run in results]
    return Joined(
        tuple(sorted(rows, key=lambda row: str(row["path"]))),
        sum(map(sum, right)) / len(rows),
        by_fold,
        std(by_fold),
        None if None in lookups else sum(lookups) / len(lookups),
    )


def refuse_other_runs(results: Sequence[Mapping[str, Any]]) -> None:
    """Raise a ValueError where runs are not the folds of one cross-validation, each once."""
    strange = [str(run["name"]) for run in results if run["protocol"].get("fold") is None]
    if strange or not results:
        raise ValueError(f"Expected runs with data.split=kfold, got {', '.join(strange) or 'none'}.")
    unlike = [str(run["name"]) for run in results if shared_settings(run) != shared_settings(results[0])]
    if unlike:
        raise ValueError(
            "Expected runs that differ in data.fold alone, "
            f"{', '.join(unlike)} differ from {results[0]['name']} in more."
        )
    counts = Counter(int(run["protocol"]["fold"]) for run in results)
    again = [fold for fold, count in counts.items() if count > 1]
    missing = sorted(set(range(int(results[0]["protocol"]["folds"]))) - set(counts))
    if again or missing:
        told = [f"fold {', '.join(map(str, missing))} is missing"] if missing else []
        told += [f"fold {', '.join(map(str, again))} is there twice"] if again else []
        raise ValueError(
            f"Expected each fold once, {' and '.join(told)}. Train it with data.fold={(missing or again)[0]}."
        )


def shared_settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the folds of one cross-validation have in common: their settings, data and weights."""
    config = {key: value for key, value in run["config"].items() if key not in OF_A_FOLD}
    data = {key: value for key, value in config["data"].items() if key not in OF_THE_DATA}
    trainer = {key: value for key, value in config.get("trainer", {}).items() if key not in OF_THE_TRAINER}
    digests = run["environment"]["digests"]
    return {**config, "data": data, "trainer": trainer, "digest": digests["data"], "weights": digests["weights"]}


def std(values: Sequence[float]) -> float:
    """Return the sample standard std, 0 for one value.

    >>> std([1.0, 2.0, 3.0])
    1.0
    """
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / max(len(values) - 1, 1))
