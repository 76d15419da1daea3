"""Ranking and probability metrics against scikit-learn and scipy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special, stats
from sklearn import metrics as sk

from brain_tumor_tl.evaluation.ranking import (
    auroc,
    average_precision,
    brier_score,
    log_loss,
    mean_defined,
    run_ranking,
    softmax,
)

CLASSES = ["a", "b", "c"]
SCORED = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)  # few values: many ties


def columns(rows: list[tuple[int, bool]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return scores and which are positive."""
    return np.array([row[0] / 6 for row in rows]), np.array([row[1] for row in rows])


def predicted(count: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return labels of three classes and probabilities with ties among them."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    logits = generator.normal(size=(count, 3)).round(1)
    logits[np.arange(count), labels] += 1
    return labels, softmax(logits)


def test_softmax__scipy() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32) * 30

    assert softmax(logits) == pytest.approx(special.softmax(logits.astype(float), axis=1))
    assert softmax(logits, 2.5) == pytest.approx(special.softmax(logits.astype(float) / 2.5, axis=1))
    assert np.allclose(softmax(np.log(softmax(logits)), 3), softmax(logits, 3)), "log probabilities are logits"


def test_softmax__logits_beyond_any_exponential() -> None:
    assert softmax([[1e4, 0], [-1e4, -1e4]]).tolist() == [[1, 0], [0.5, 0.5]]


@given(SCORED)
def test_auroc__scikit_learn_and_mann_whitney(rows: list[tuple[int, bool]]) -> None:
    scores, positive = columns(rows)
    (area,) = auroc(scores, positive)

    if positive.all() or not positive.any():
        assert np.isnan(area)
        return
    assert area == pytest.approx(sk.roc_auc_score(positive, scores))
    pairs = positive.sum() * (~positive).sum()
    assert area == pytest.approx(stats.mannwhitneyu(scores[positive], scores[~positive]).statistic / pairs)


def test_auroc__weights_are_repeats() -> None:
    generator = np.random.default_rng(0)
    scores, positive = generator.integers(0, 9, 50) / 9, generator.random(50) < 0.4
    weights = generator.integers(0, 4, (5, 50)).astype(float)

    areas = auroc(scores, positive, weights)

    for area, times in zip(areas, weights, strict=True):
        drawn = np.repeat(np.arange(50), times.astype(int))
        assert area == pytest.approx(sk.roc_auc_score(positive[drawn], scores[drawn]))


@pytest.mark.parametrize(
    ("scores", "positive", "area"),
    [([0.1, 0.9], [0, 1], 1.0), ([0.9, 0.1], [0, 1], 0.0), ([0.5, 0.5], [0, 1], 0.5)],
    ids=["right", "wrong", "tie"],
)
def test_auroc__two_images(scores: list[float], positive: list[int], area: float) -> None:
    assert auroc(np.array(scores), np.array(positive, dtype=bool)) == [area]


def test_auroc__undefined() -> None:
    assert np.isnan(auroc(np.array([]), np.array([], dtype=bool))).all()
    assert np.isnan(auroc(np.array([0.5]), np.array([True]))).all()
    assert np.isnan(auroc(np.array([0.5, np.nan]), np.array([True, False]))).all()


@given(SCORED)
def test_average_precision__scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, positive = columns(rows)
    value = average_precision(scores, positive)

    if not positive.any():
        assert value is None
        return
    assert value == pytest.approx(sk.average_precision_score(positive, scores))


def test_average_precision__diverged_run() -> None:
    assert average_precision(np.array([np.nan, 0.5]), np.array([True, False])) is None


@pytest.mark.parametrize("seed", range(3))
def test_brier_score_and_log_loss__scikit_learn(seed: int) -> None:
    labels, probabilities = predicted(80, seed)

    oracle = sk.brier_score_loss(labels, probabilities, labels=[0, 1, 2], scale_by_half=False)
    assert brier_score(labels, probabilities) == pytest.approx(oracle)
    assert log_loss(labels, probabilities) == pytest.approx(sk.log_loss(labels, probabilities, labels=[0, 1, 2]))


@pytest.mark.parametrize(
    ("probabilities", "brier", "loss"),
    [([1, 0, 0], 0, 0), ([0, 1, 0], 2, 708.396), ([1e-30, 1, 0], 2, 69.078), ([1 / 3] * 3, 2 / 3, np.log(3))],
    ids=["right", "impossible", "wrong", "unsure"],
)
def test_brier_score_and_log_loss__one_image(probabilities: list[float], brier: float, loss: float) -> None:
    label, row = np.array([0]), np.array([probabilities], dtype=float)

    assert brier_score(label, row) == pytest.approx(brier)
    assert log_loss(label, row) == pytest.approx(loss, abs=1e-3)


def test_mean_defined__rows() -> None:
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan], [1.0, 1.0, 4.0]])

    assert mean_defined(values) == pytest.approx([2, np.nan, 2], nan_ok=True)


def test_run_ranking__scikit_learn() -> None:
    labels, probabilities = predicted(90)

    result = run_ranking(labels, probabilities, CLASSES)

    assert result["auroc"] == pytest.approx(sk.roc_auc_score(labels, probabilities, multi_class="ovr"))
    truth = np.eye(3)[labels]
    assert result["average_precision"] == pytest.approx(sk.average_precision_score(truth, probabilities))
    for label, name in enumerate(CLASSES):
        area = sk.roc_auc_score(labels == label, probabilities[:, label])
        precision = sk.average_precision_score(labels == label, probabilities[:, label])
        assert result["per_class"][name] == pytest.approx({"auroc": area, "average_precision": precision})
    assert json.loads(json.dumps(result)) == result


def test_run_ranking__absent_class_is_left_out() -> None:
    labels, probabilities = predicted(90)
    kept = labels != 1

    result = run_ranking(labels[kept], probabilities[kept], CLASSES)

    assert result["per_class"]["b"] == {"auroc": None, "average_precision": None}
    others = [result["per_class"][name]["auroc"] for name in ("a", "c")]
    assert result["auroc"] == pytest.approx(np.mean(others))


def test_run_ranking__one_class_alone() -> None:
    result = run_ranking(np.zeros(5, dtype=np.int64), predicted(5)[1], CLASSES)

    assert result["auroc"] is None
    assert result["average_precision"] == 1
