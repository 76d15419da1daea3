"""Fold table: a row for each cross-validation, complete or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from brain_tumor_tl.evaluation.crossval import Joined
from brain_tumor_tl.reporting.aggregate import RunGroup, group_runs
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.fold_table import fold_table
from brain_tumor_tl.reporting.folds import Folds

MakeResults = Callable[..., dict[str, Any]]


def folded(make_results: MakeResults, accuracies: dict[int, float]) -> RunGroup:
    """Return a group of some folds out of three."""
    runs = [
        Run(Path(str(fold)), make_results("resnet18-frozen-s0", value, protocol={"fold": fold, "folds": 3}))
        for fold, value in accuracies.items()
    ]
    return group_runs(runs, lambda _: {})[0][0]


def test_fold_table__complete(make_results: MakeResults) -> None:
    group = folded(make_results, {2: 0.7, 0: 0.9, 1: 0.8})
    joined = Joined(({},) * 30, 0.81, 0.5)
    table = fold_table([replace(group, folds=Folds(3, (), joined, [0.7, 0.9], "group"))])

    assert table is not None
    assert dict(zip(table.headers, table.rows[0], strict=True)) == {
        "network": "resnet18", "method": "frozen", "folds": "3", "images": "30", "joined": "81.00",
        "95 % interval": "70.00 to 90.00", "mean of the folds": "80.00 ± 10.00",
        "fold 0": "90.00", "fold 1": "80.00", "fold 2": "70.00", "1-NN": "50.00", "missing": "-",
    }  # fmt: skip


def test_fold_table__folds_missing(make_results: MakeResults) -> None:
    table = fold_table([folded(make_results, {1: 0.8})])

    assert table is not None
    row = dict(zip(table.headers, table.rows[0], strict=True))
    assert (row["folds"], row["joined"], row["fold 0"], row["missing"]) == ("1/3", "-", "-", "0, 2")


def test_fold_table__no_folds(make_results: MakeResults) -> None:
    groups, _ = group_runs([Run(Path(), make_results())], lambda _: {})

    assert fold_table(groups) is None
