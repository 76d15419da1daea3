"""Classes: the study's Tables 2 to 7 and the confusion matrices of its Figures 4 to 10, from finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.leaderboard import percent, with_std
from brain_tumor_tl.reporting.study import per_class
from brain_tumor_tl.reporting.table import Table, compact_table

METRICS = {"precision": "precision", "recall": "recall", "f1": "F1"}


def class_tables(groups: Sequence[RunGroup]) -> dict[str, Table]:
    """Return by network the precision, recall and F1 of each class and method, beside the study's whole percent."""
    models = dict.fromkeys(group.model for group in groups)
    return {model: class_table([group for group in groups if group.model == model]) for model in models}


def class_table(groups: Sequence[RunGroup]) -> Table:
    """Return a row for each method and class of the groups of one network."""
    headers = ["method", "settings", "class"]
    for name in METRICS.values():
        headers += [name, "study"]
    rows = []
    for group in groups:
        for name in classes_of(group):
            study = per_class().get((group.model, group.method, name), {}) if group.study else {}
            row = [group.method, group.label, name]
            for metric in METRICS:
                row.append(with_std(group.spread(partial(class_metric, name=name, metric=metric))))
                row.append(percent(study[metric], digits=0) if study else "")
            rows.append(row)
    return compact_table(f"{groups[0].model}: test split, percent", headers, rows)


def classes_of(group: RunGroup) -> list[str]:
    """Return the names of a group's classes."""
    return list(group.runs[0].results.get("per_class") or {})


def class_metric(results: Mapping[str, Any], name: str, metric: str) -> float | None:
    """Return a metric of a class from a run's results, None if it is not defined."""
    value: float | None = (results.get("per_class") or {}).get(name, {}).get(metric)
    return value


def matrices(group: RunGroup) -> list[list[list[int]]]:
    """Return the confusion matrices of a group's runs, row = true class; matrices of another size are left out."""
    found = [run.results.get("confusion_matrix") for run in group.runs]
    size = len(classes_of(group))
    return [matrix for matrix in found if matrix is not None and np.shape(matrix) == (size, size)]


def summed(group: RunGroup) -> list[list[int]] | None:
    """Return the sum of the confusion matrices of a group's runs, None if there is none."""
    found = matrices(group)
    total: list[list[int]] = np.sum(found, axis=0).astype(int).tolist() if found else []
    return total or None
