"""Folds: the folds of a cross-validation are read from their folders and joined if all are finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_tumor_tl.evaluation.intervals import accuracy_interval
from brain_tumor_tl.files import read_json
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.folds import fold_of, read_folds

PutRun = Callable[..., Path]
HITS = ([True] * 10, [True] * 5 + [False] * 5, [True] * 4 + [False] * 16)
STARTS = (0, 10, 20)


@pytest.fixture
def folds(tmp_path: Path, put_run: PutRun) -> list[Run]:
    """The three folds of one cross-validation: 10, 10 and 20 images."""
    return put_folds(tmp_path, put_run, groups=[number // 4 for number in range(40)])


def put_folds(place: Path, put_run: PutRun, groups: Sequence[int] | None) -> list[Run]:
    """Write three folds and return them."""
    runs = []
    for fold, (hits, start) in enumerate(zip(HITS, STARTS, strict=True)):
        folder = put_run(
            place, "resnet18-frozen-s0", f"f{fold}", hits, start, groups, config={"data": {"fold": fold}},
            protocol={"split": "kfold", "fold": fold, "folds": 3, "nearest_neighbour": 0.25 * fold},
        )  # fmt: skip
        runs.append(Run(folder, read_json(folder / "results.json")))
    return runs


def test_read_folds__joined(folds: list[Run]) -> None:
    found = read_folds(folds)

    assert found is not None
    assert found.joined is not None
    assert (found.count, found.missing, found.problem, found.unit) == (3, (), "", "group")
    assert found.joined.accuracy == pytest.approx(19 / 40)  # the mean of the folds is 17 / 30
    hits = np.array([int(row["correct"]) == 1 for row in found.joined.rows])
    groups = [int(str(row["path"]).removesuffix(".png")) // 4 for row in found.joined.rows]
    assert found.interval == accuracy_interval(hits, groups)[0]


def test_read_folds__wilson_without_groups(tmp_path: Path, put_run: PutRun) -> None:
    found = read_folds(put_folds(tmp_path, put_run, groups=None))

    assert found is not None
    assert (found.interval, found.unit) == accuracy_interval(np.array([True] * 19 + [False] * 21))


def test_read_folds__missing_are_named(folds: list[Run]) -> None:
    found = read_folds(folds[:1])

    assert found is not None
    assert (found.count, found.missing, found.joined, found.interval) == (3, (1, 2), None, None)
    assert found.problem == "fold 1, 2 missing"


@pytest.mark.parametrize("content", [None, "", "a,b\n1,2\n", "path,label,correct\n1.png,0,yes\n"])
def test_read_folds__unreadable_predictions_are_told(content: str | None, folds: list[Run]) -> None:
    (folds[1].folder / "predictions.csv").unlink()
    if content is not None:
        (folds[1].folder / "predictions.csv").write_text(content)

    found = read_folds(folds)

    assert found is not None
    assert found.joined is None
    assert found.problem.startswith("not joined: ")


def test_read_folds__other_runs_are_no_folds(tmp_path: Path, make_results: Callable[..., dict[str, Any]]) -> None:
    assert read_folds([Run(tmp_path, make_results())]) is None
    assert fold_of({}) is None
