"""Folders: what finished runs on the same test images say of each other, from the files of their folders alone."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.evaluation.comparison import Hits, difference_interval, discordant, exchange_test, compare_with_best
from brain_tumor_tl.evaluation.intervals import LEVEL

Rows = dict[str, dict[str, str]]


def compare_runs(first: Path, second: Path, level: float = LEVEL) -> dict[str, Any]:
    """Return how two runs differ on the same test images, from their folders alone.

    Args:
        first: Folder of a finished run.
        second: Folder of another on the same split.
        level: Share of the intervals that hold the true value.

    Raises:
        ValueError: A folder has no predictions, or the runs were tested on other images.
    """
    paths, hits = common_hits({folder: read_predictions(folder) for folder in (first, second)})
    groups = common_groups(read_groups(first), paths)
    one, other = hits
    only_first, only_second = discordant(one, other)
    return {
        "runs": [str(first), str(second)],
        "images": len(paths),
        "unit": "image" if groups is None else "group",
        "units": len(set(paths if groups is None else groups)),
        "accuracy": [float(one.mean()), float(other.mean())],
        "difference": float(one.mean() - other.mean()),
        "interval": difference_interval(one, other, groups, level=level),
        "level": level,
        "only_right": [only_first, only_second],
        "test": "McNemar, exact" if groups is None else "exchange by group, exact",
        "p_value": exchange_test(one, other, groups),
    }


def tell_apart(folders: Iterable[Path], level: float = LEVEL) -> dict[Path, dict[str, Any]]:
    """Return for each run that shares its test images with another how it stands to the best of these.

    Under a random split, runs of another seed have another test part: they form a set of their own.

    Args:
        folders: Folders of finished runs.
        level: As in `comparison.compare_with_best`, for each set of runs by itself.

    Returns:
        By folder: what `comparison.compare_with_best` says, `best_run` and `runs`, the number compared. A run that is
        alone with its test images, or has no predictions, is missing.
    """
    tables = {folder: read_predictions(folder) for folder in folders if (folder / "predictions.csv").is_file()}
    found: dict[Path, dict[str, Any]] = {}
    for group in sets_of_tables(tables):
        found |= compare_set({folder: tables[folder] for folder in group}, read_groups(group[0]), level)
    return found


def compare_set(tables: Mapping[Path, Rows], groups: Mapping[str, str], level: float = LEVEL) -> dict[Path, Any]:
    """Return how each of some runs on the same test images stands to the best of them, as `tell_apart` does.

    Args:
        tables: Predictions by the folder of their run.
        groups: Group of each image by path, empty where none are known.
        level: As in `comparison.compare_with_best`.

    Raises:
        ValueError: The runs were tested on other images, or on other labels.
    """
    paths, hits = common_hits(tables)
    named = {str(folder): values for folder, values in zip(tables, hits, strict=True)}
    rows = compare_with_best(named, common_groups(groups, paths), level)
    best = next(Path(name) for name, row in rows.items() if row["p_value"] is None)
    return {Path(name): {**row, "best_run": best, "runs": len(tables)} for name, row in rows.items()}


def sets_of_runs(folders: Iterable[Path]) -> list[list[Path]]:
    """Return the runs that were tested on the same images and labels, set by set, of two or more."""
    return sets_of_tables({f: read_predictions(f) for f in folders if (f / "predictions.csv").is_file()})


def sets_of_tables(tables: Mapping[Path, Rows]) -> list[list[Path]]:
    """Return the folders whose predictions are of the same images and labels, set by set, of two or more."""
    sets: dict[frozenset[tuple[str, str]], list[Path]] = {}
    for folder, table in tables.items():
        truth = frozenset((path, row["label"]) for path, row in table.items())
        sets.setdefault(truth, []).append(folder)
    return [found for found in sets.values() if len(found) > 1]


def common_hits(tables: Mapping[Path, Rows]) -> tuple[list[str], list[Hits]]:
    """Return the test images of some runs, by path, and which of them each run has right, in that order.

    Args:
        tables: Predictions by the folder of their run.

    Raises:
        ValueError: The runs were tested on other images, or on other labels.
    """
    first = next(iter(tables))
    truth = {path: row["label"] for path, row in tables[first].items()}
    for folder, table in tables.items():
        if {path: row["label"] for path, row in table.items()} != truth:
            shared = len(truth.keys() & table.keys())
            raise ValueError(
                f"Expected runs on the same test images and labels, got {len(truth)} images in {first} and "
                f"{len(table)} in {folder}, {shared} of them in both. Compare runs of one split: the same data, seed "
                "and data.* settings."
            )
    paths = list(truth)
    return paths, [np.array([table[path]["correct"] == "1" for path in paths]) for table in tables.values()]


def read_predictions(folder: Path) -> Rows:
    """Return the rows of a run's `predictions.csv` by path.

    Raises:
        ValueError: It is absent, empty, of other columns, or has a path twice.
    """
    rows = read_rows(folder / "predictions.csv")
    if not rows or not {"path", "label", "correct"} <= rows[0].keys():
        raise ValueError(f"Expected path, label and correct of each test image in {folder / 'predictions.csv'}.")
    twice = [path for path, count in Counter(row["path"] for row in rows).items() if count > 1]
    if twice:
        raise ValueError(f"Expected each image once in {folder / 'predictions.csv'}, got {twice[0]} more than once.")
    return {row["path"]: row for row in rows}


def read_groups(folder: Path) -> dict[str, str]:
    """Return the group of each image by path from a run's `split.csv`, empty where it has no groups.

    Raises:
        ValueError: The file is absent.
    """
    return {row["path"]: row["group"] for row in read_rows(folder / "split.csv") if row.get("group")}


def common_groups(groups: Mapping[str, str], paths: Sequence[str]) -> list[str] | None:
    """Return the group of each image, None where the group of any is unknown."""
    return [groups[path] for path in paths] if groups and all(path in groups for path in paths) else None


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file.

    Raises:
        ValueError: It can't be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Expected a run's {path.name}, {path} can't be read: {error}.") from error
