"""Predictions: compare finished runs on the same test images by the `predictions.csv` in their folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.evaluation.comparison import Hits, difference_interval, discordant, exchange_test
from brain_tumor_tl.evaluation.intervals import LEVEL
from brain_tumor_tl.files import read_csv

Rows = dict[str, dict[str, str]]  # of predictions.csv, by path


def compare_runs(first: Path, second: Path, level: float = LEVEL) -> dict[str, Any]:
    """Compare two runs on the same test images.

    Args:
        first: Folder of a finished run.
        second: Folder of another run on the same split.
        level: Confidence level of the interval of the difference.

    Raises:
        ValueError: A folder has no predictions, or the runs were tested on other images.
    """
    paths, (one, other) = common_hits({folder: read_predictions(folder) for folder in (first, second)})
    groups, unit = read_units(first, paths)
    return {
        "runs": [str(first), str(second)],
        "images": len(paths),
        "unit": unit,
        "units": len(set(paths if groups is None else groups)),
        "accuracy": [float(one.mean()), float(other.mean())],
        "difference": float(one.mean() - other.mean()),
        "interval": difference_interval(one, other, groups, level=level),
        "level": level,
        "only_right": list(discordant(one, other)),
        "test": "McNemar, exact" if groups is None else f"exchange by {unit}, exact",
        "p_value": exchange_test(one, other, groups),
    }


def common_hits(tables: Mapping[Path, Rows]) -> tuple[list[str], list[Hits]]:
    """Return the paths of the test images of some runs, and for each run which of them it predicts correctly.

    Args:
        tables: Predictions by the folder of their run.

    Raises:
        ValueError: The runs were tested on other images or labels.
    """
    first, *_ = tables
    truth = {path: row["label"] for path, row in tables[first].items()}
    for folder, table in tables.items():
        if {path: row["label"] for path, row in table.items()} != truth:
            shared = len(truth.keys() & table.keys())
            raise ValueError(
                f"Expected runs on the same test images and labels, got {len(truth)} images in {first} and "
                f"{len(table)} in {folder}, {shared} of them in both. Compare runs of one split: the same data, seed "
                "and data.* settings."
            )
    return list(truth), [np.array([table[path]["correct"] == "1" for path in truth]) for table in tables.values()]


def read_predictions(folder: Path) -> Rows:
    """Return the rows of a run's `predictions.csv` by path.

    Raises:
        ValueError: It can't be read, has no rows, lacks a column or has a path twice.
    """
    rows = read_csv(folder / "predictions.csv")
    if not rows or not {"path", "label", "correct"} <= rows[0].keys():
        raise ValueError(f"Expected path, label and correct of each test image in {folder / 'predictions.csv'}.")
    path, count = Counter(row["path"] for row in rows).most_common(1)[0]
    if count > 1:
        raise ValueError(f"Expected each image once in {folder / 'predictions.csv'}, got {path} {count} times.")
    return {row["path"]: row for row in rows}


def read_split(folder: Path, *columns: str) -> Rows:
    """Return the rows of a run's `split.csv` by path.

    Args:
        folder: The run's folder.
        columns: Columns that it must have beside `path`.

    Raises:
        ValueError: It can't be read or lacks a column.
    """
    rows = read_csv(folder / "split.csv")
    if rows and not {"path", *columns} <= rows[0].keys():
        raise ValueError(
            f"Expected {', '.join(['path', *columns])} of each image in {folder / 'split.csv'}. Put the file back if "
            "you have a copy, or train the run anew with force=true."
        )
    return {row["path"]: row for row in rows}


def read_units(folder: Path, paths: Sequence[str]) -> tuple[list[str] | None, str]:
    """Return what is resampled whole: the group of each image from a run's `split.csv`, and what the groups hold.

    Returns:
        None and `image` if the group of any image is not known. Else the groups, and `patient` if the patient of any
        image is known, since a group then holds all images of its patients, else `group`.

    Raises:
        ValueError: The file can't be read.
    """
    rows = {path: row for path, row in read_split(folder).items() if row.get("group")}
    if not all(path in rows for path in paths):
        return None, "image"
    known = any(rows[path].get("patient") for path in paths)
    return [rows[path]["group"] for path in paths], "patient" if known else "group"
