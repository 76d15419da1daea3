"""Classes: Tables 2 to 7 of the study, and the confusion matrices of its Figures 4 to 10, from finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brain_tumor_tl.reporting.aggregate import Group
from brain_tumor_tl.reporting.leaderboard import DASH, with_std
from brain_tumor_tl.reporting.study import per_class
from brain_tumor_tl.reporting.table import Table

METRICS = {"precision": "precision", "recall": "recall", "f1": "F1"}


def class_tables(groups: Sequence[Group]) -> dict[str, Table]:
    """Return by network precision, recall and F1 of each class and method, beside the study's whole percent."""
    models = list(dict.fromkeys(group.model for group in groups))
    return {model: class_table([group for group in groups if group.model == model]) for model in models}


def class_table(groups: Sequence[Group]) -> Table:
    """Return one network's table: a row for each method and class.

    Args:
        groups: The network's groups.
    """
    several = any(group.number for group in groups)
    beside = any((group.model, group.method, name) in per_class() for group in groups for name in classes_of(group))
    beside = beside and any(group.study for group in groups)
    headers = ["method", *(["settings"] if several else []), "class"]
    for name in METRICS.values():
        headers += [name, "study"] if beside else [name]
    rows = []
    for group in groups:
        for name in classes_of(group):
            study = (None if group.apart else per_class().get((group.model, group.method, name))) or {}
            row = [group.method, *([group.label] if several else []), name]
            for metric in METRICS:
                row.append(with_std(group.spread(class_metric(name, metric))))
                row += [whole_percent(study.get(metric))] if beside else []
            rows.append(tuple(row))
    return Table(f"{groups[0].model}: test part, percent", tuple(headers), tuple(rows))


def classes_of(group: Group) -> list[str]:
    """Return the names of a group's classes."""
    return list(group.runs[0].results.get("per_class") or {})


def class_metric(name: str, metric: str) -> Any:
    """Return what reads a class's metric from a run's results."""

    def read(results: Mapping[str, Any]) -> float | None:
        value: float | None = (results.get("per_class") or {}).get(name, {}).get(metric)
        return value

    return read


def whole_percent(fraction: float | None) -> str:
    """Return a fraction as the study prints it.

    >>> whole_percent(0.98), whole_percent(None)
    ('98', '-')
    """
    return DASH if fraction is None else f"{100 * fraction:.0f}"


def matrices(group: Group) -> list[list[list[int]]]:
    """Return the confusion matrices of a group's runs that have one of the same size, row = true class."""
    found = [run.results.get("confusion_matrix") for run in group.runs]
    size = len(classes_of(group))
    return [matrix for matrix in found if matrix is not None and np.shape(matrix) == (size, size)]


def summed(group: Group) -> list[list[int]] | None:
    """Return the confusion matrices of a group's runs added up, None where there is none."""
    found = matrices(group)
    total: list[list[int]] = np.sum(found, axis=0).astype(int).tolist() if found else []
    return total or None
