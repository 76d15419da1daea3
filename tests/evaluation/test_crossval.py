"""Cross-validation: the predictions of all folds joined, and only of one cross-validation, each fold once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.evaluation.crossval import join_folds

Fold = tuple[dict[str, Any], list[dict[str, Any]]]
MakeFold = Callable[..., Fold]


@pytest.fixture(scope="session")
def real_results(finished_runs: dict[str, Path]) -> dict[str, Any]:
    """The results.json of a real run."""
    content: dict[str, Any] = json.loads((finished_runs["frozen"] / "results.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture
def make_fold(real_results: dict[str, Any]) -> MakeFold:
    """Make a fold's run out of a real run's results: `make_fold(fold, correct)`."""

    def make(fold: int, correct: list[int]) -> Fold:
        run = copy.deepcopy(real_results)
        assert run["protocol"]["fold"] is None
        run["name"] = f"run-f{fold}"
        run["protocol"] |= {"fold": fold, "folds": 3, "nearest_neighbour": 0.5 + fold / 10}
        return run, [{"path": f"{i}-{fold}.png", "correct": value} for i, value in enumerate(correct)]

    return make


@pytest.fixture
def folds(make_fold: MakeFold) -> list[Fold]:
    """The three folds of one cross-validation, in another order."""
    return [make_fold(2, [1, 1]), make_fold(0, [0, 1, 1, 0]), make_fold(1, [1, 0, 1])]


def test_join_folds__every_image_once(folds: list[Fold]) -> None:
    joined = join_folds(folds)

    assert [row["path"] for row in joined.rows] == sorted(
        f"{i}-{f}.png" for f, n in ((0, 4), (1, 3), (2, 2)) for i in range(n)
    )
    assert {row["path"]: row["fold"] for row in joined.rows}["1-2.png"] == 2
    assert joined.accuracy == pytest.approx(6 / 9)
    assert joined.nearest_neighbour == pytest.approx(0.6)


def test_join_folds__as_text_from_csv(folds: list[Fold]) -> None:
    texts = [(run, [{k: str(v) for k, v in row.items()} for row in rows]) for run, rows in folds]

    assert join_folds(texts).accuracy == pytest.approx(6 / 9)


def test_join_folds__baseline_that_is_not_known(folds: list[Fold]) -> None:
    folds[1][0]["protocol"]["nearest_neighbour"] = None

    assert join_folds(folds).nearest_neighbour is None


def test_join_folds__none() -> None:
    with pytest.raises(ValueError, match=r"data\.split=kfold, got none"):
        join_folds([])


def test_join_folds__no_fold(real_results: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"data.split=kfold, got {real_results['name']}"):
        join_folds([(real_results, [])])


def test_join_folds__missing_fold(folds: list[Fold]) -> None:
    with pytest.raises(ValueError, match=r"one run of each fold: fold 1 is missing, train it with data\.fold=1"):
        join_folds(folds[:2])


def test_join_folds__fold_twice(folds: list[Fold], make_fold: MakeFold) -> None:
    with pytest.raises(ValueError, match="one run of each fold: fold 1 has 2 runs"):
        join_folds([*folds, make_fold(1, [1])])


def test_join_folds__image_in_two_folds(folds: list[Fold]) -> None:
    with pytest.raises(ValueError, match=r"4 are in several, such as 0-0\.png"):
        join_folds([folds[0], folds[1], (folds[2][0], folds[1][1])])
