"""Prediction table: the first rows of predictions on the terminal."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brain_tumor_tl.console import console
from brain_tumor_tl.reporting.table import compact_table

Row = Mapping[str, Any]
SHOWN = 40  # rows of the table


def print_table(found: Iterable[Row], classes: Sequence[str]) -> None:
    """Print the first rows as a table, paths below the folder that has them all."""
    rows = iter(found)
    shown = list(itertools.islice(rows, SHOWN))
    rest = sum(1 for _ in rows)
    base = common_folder([row["path"] for row in shown])
    lines = [
        [
            os.path.relpath(row["path"], base) if base else row["path"],
            given(row),
            row.get("predicted", ""),
            *percentages(row, classes, len(classes) if len(shown) == 1 else 2),
            f"{row['distance']:.3f}" if "distance" in row else "",
            remark(row),
        ]
        for row in shown
    ]
    headers = ["picture", "its label, %", "predicted", "%", "next, %", "distance", "warning"]
    more = [f"and {rest} more; --csv FILE writes all"] if rest else []
    console.print(compact_table(f"Pictures in {base}" if base else "", headers, lines, more))


def common_folder(paths: Sequence[str]) -> str:
    """Return the folder that all of several paths are in; empty if there is none, or one path.

    >>> common_folder(["a/b/x.png", "a/y.png"]), common_folder(["/a/x.png", "a/x.png"]), common_folder(["a/x.png"])
    ('a', '', '')
    """
    with contextlib.suppress(ValueError):  # absolute and relative paths
        return os.path.commonpath([str(Path(path).parent) for path in paths]) if len(paths) > 1 else ""
    return ""


def percentages(row: Row, classes: Sequence[str], most: int) -> tuple[str, str]:
    """Return the probability of the predicted class in percent, and those of the next classes.

    Args:
        row: Of a picture.
        classes: All classes.
        most: How many of them to name.

    >>> percentages({"predicted": "b", "probability/a": 0.0, "probability/b": 0.9, "probability/c": 0.1}, "abc", 2)
    ('90.0', 'c 10.0')
    """
    if not row.get("predicted"):
        return "", ""
    values = {name: 100 * row[f"probability/{name}"] for name in classes}
    others = sorted((name for name in classes if name != row["predicted"]), key=lambda name: -values[name])[: most - 1]
    return f"{values[row['predicted']]:.1f}", ", ".join(f"{name} {values[name]:.1f}" for name in others)


def given(row: Row) -> str:
    """Return the class that a picture's folder gives it, and its probability in percent; empty without one.

    >>> given({"class": "glioma_tumor", "self_confidence": 0.026})
    'glioma_tumor 2.6'
    """
    if not row.get("class"):
        return ""
    return f"{row['class']} {100 * row['self_confidence']:.1f}" if row["self_confidence"] is not None else row["class"]


def remark(row: Row) -> str:
    """Return what a user should know of a row."""
    return row["problem"] or ("unlike" if row.get("unlike_training") else "")
