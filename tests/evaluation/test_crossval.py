"""Crossval: predictions of all folds joined, and only of one cross-validation, each fold once."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from brain_tumor_tl.evaluation.crossval import join_folds


def fold_run(fold: int, right: list[int], **other: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    run = {
        "name": f"resnet18-finetune-s0-grouped-f{fold}",
        "protocol": {"fold": fold, "folds": 3, "nearest_neighbour": 0.5 + fold / 10},
        "config": {"name": f"f{fold}", "seed": other.get("seed", 0), "data": {"fold": fold, "folds": 3}},
        "environment": {"digests": {"data": "d", "weights": "w", "split": str(fold)}},
    }
    return run, [{"path": f"{i}-{fold}.png", "correct": value} for i, value in enumerate(right)]


FOLDS = [fold_run(2, [1, 1]), fold_run(0, [0, 1, 1, 0]), fold_run(1, [1, 0, 1])]


def test_join_folds__every_image_once() -> None:
    joined = join_folds(FOLDS)

    assert [row["path"] for row in joined.rows] == sorted(
        f"{i}-{f}.png" for f, n in ((0, 4), (1, 3), (2, 2)) for i in range(n)
    )
    assert {row["path"]: row["fold"] for row in joined.rows}["1-2.png"] == 2
    assert joined.accuracy == pytest.approx(6 / 9)
    assert joined.by_fold == pytest.approx((0.5, 2 / 3, 1.0))
    assert joined.std == pytest.approx(statistics.stdev(joined.by_fold))
    assert joined.lookup == pytest.approx(0.6)


def test_join_folds__as_text_from_csv() -> None:
    texts = [(run, [{k: str(v) for k, v in row.items()} for row in rows]) for run, rows in FOLDS]

    assert join_folds(texts).accuracy == pytest.approx(6 / 9)


def test_join_folds__baseline_that_is_not_known() -> None:
    run, rows = fold_run(0, [0, 1])
    run["protocol"]["nearest_neighbour"] = None

    assert join_folds([FOLDS[0], FOLDS[2], (run, rows)]).lookup is None


REFUSED = {
    "none": ([], r"data\.split=kfold, got none"),
    "missing": (FOLDS[:2], r"each fold once, fold 1 is missing\. Train it with data\.fold=1"),
    "twice": ([*FOLDS, fold_run(1, [1])], "fold 1 is there twice"),
    "other seed": ([*FOLDS[:2], fold_run(1, [1], seed=3)], "resnet18-finetune-s0-grouped-f1 differ from .*-f2 in more"),
    "shared image": ([FOLDS[0], FOLDS[1], (FOLDS[2][0], FOLDS[1][1])], r"4 are in several, such as 0-0\.png"),
    "no fold": ([({"name": "a", "protocol": {"split": "random"}}, [])], "kfold, got a"),
}


@pytest.mark.parametrize(("runs", "expected"), REFUSED.values(), ids=REFUSED)
def test_join_folds__refused(runs: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        join_folds(runs)
