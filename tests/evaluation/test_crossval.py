"""Cross-validation: the predictions of all folds joined, and only of one cross-validation, each fold once."""

from __future__ import annotations

import copy
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.evaluation.crossval import (
    DATA_MAY_DIFFER,
    MAY_DIFFER,
    TRAINER_MAY_DIFFER,
    join_folds,
    shared_settings,
)

Fold = tuple[dict[str, Any], list[dict[str, Any]]]
MakeFold = Callable[..., Fold]
ALL_MAY_DIFFER = [
    *((key,) for key in MAY_DIFFER),
    *(("data", key) for key in DATA_MAY_DIFFER),
    *(("trainer", key) for key in TRAINER_MAY_DIFFER),
]


@pytest.fixture(scope="session")
def real_results(finished_runs: dict[str, Path]) -> dict[str, Any]:
    """The results.json of a real run."""
    content: dict[str, Any] = json.loads((finished_runs["frozen"] / "results.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture
def make_fold(real_results: dict[str, Any]) -> MakeFold:
    """Make a fold's run out of a real run's results: `make_fold(fold, correct, *path of a setting, value)`."""

    def make(fold: int, correct: list[int], *setting: Any) -> Fold:
        run = copy.deepcopy(real_results)
        assert run["protocol"]["fold"] is None
        run["name"] = f"run-f{fold}"
        run["protocol"] |= {"fold": fold, "folds": 3, "nearest_neighbour": 0.5 + fold / 10}
        run["config"]["data"] |= {"fold": fold, "folds": 3}
        if setting:
            *tables, key, value = setting
            table = run["config"]
            for name in tables:
                table = table[name]
            assert key in table
            table[key] = value
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
    assert joined.by_fold == pytest.approx((0.5, 2 / 3, 1.0))
    assert joined.std == pytest.approx(statistics.stdev(joined.by_fold))
    assert joined.nearest_neighbour == pytest.approx(0.6)


def test_join_folds__as_text_from_csv(folds: list[Fold]) -> None:
    texts = [(run, [{k: str(v) for k, v in row.items()} for row in rows]) for run, rows in folds]

    assert join_folds(texts).accuracy == pytest.approx(6 / 9)


def test_join_folds__baseline_that_is_not_known(folds: list[Fold]) -> None:
    folds[1][0]["protocol"]["nearest_neighbour"] = None

    assert join_folds(folds).nearest_neighbour is None


@pytest.mark.parametrize("path", ALL_MAY_DIFFER, ids=".".join)
def test_join_folds__settings_that_may_differ(path: tuple[str, ...], folds: list[Fold], make_fold: MakeFold) -> None:
    joined = join_folds([folds[0], folds[1], make_fold(1, [1, 0, 1], *path, "other")])

    assert joined.accuracy == pytest.approx(6 / 9)


@pytest.mark.parametrize(
    "setting",
    [("seed", 3), ("method", "name", "other"), ("data", "image_size", 96), ("trainer", "max_epochs", 9)],
    ids=lambda setting: ".".join(setting[:-1]),
)
def test_join_folds__settings_that_may_not_differ(
    setting: tuple[Any, ...], folds: list[Fold], make_fold: MakeFold
) -> None:
    with pytest.raises(ValueError, match=r"run-f1 differ from run-f2 in other settings"):
        join_folds([folds[0], folds[1], make_fold(1, [1], *setting)])


@pytest.mark.parametrize("kind", ["data", "weights"])
def test_join_folds__other_data_or_weights(kind: str, folds: list[Fold]) -> None:
    folds[1][0]["environment"]["digests"][kind] = "another"

    with pytest.raises(ValueError, match="run-f0 differ from run-f2 in other settings, data or weights"):
        join_folds(folds)


def test_shared_settings__hold_every_other_setting(real_results: dict[str, Any]) -> None:
    shared = shared_settings(real_results)

    assert set(real_results["config"]) - set(shared) == set(MAY_DIFFER)
    assert set(real_results["config"]["data"]) - set(shared["data"]) == set(DATA_MAY_DIFFER)
    assert set(real_results["config"]["trainer"]) - set(shared["trainer"]) == set(TRAINER_MAY_DIFFER)


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
