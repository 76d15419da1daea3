"""Calibration against torchmetrics and scipy, and what a temperature must not change."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torchmetrics.functional.classification import multiclass_calibration_error

from brain_tumor_tl.evaluation.calibration import (
    COLDEST,
    HOTTEST,
    NoTemperature,
    calibration_error,
    fit_temperature,
    quality,
    reliability_rows,
    run_probabilities,
)
from brain_tumor_tl.evaluation.ranking import log_loss, softmax

CLASSES = ["a", "b", "c", "d"]
Arrays = tuple[NDArray[np.float64], NDArray[np.int64]]


def drawn(count: int, seed: int = 0, sharpness: float = 1.0) -> Arrays:
    """Return logits and labels drawn from their softmax, so calibrated, and then the logits times `sharpness`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, 4)) * 2
    labels = (softmax(logits).cumsum(axis=1) < generator.random((count, 1))).sum(axis=1)
    return logits * sharpness, labels


@pytest.mark.parametrize("bins", [5, 15])
@pytest.mark.parametrize("sharpness", [0.3, 1, 4])
def test_calibration_error__torchmetrics(bins: int, sharpness: float) -> None:
    logits, labels = drawn(500, sharpness=sharpness)
    probabilities = softmax(logits)

    error = calibration_error(reliability_rows(labels, probabilities, bins))

    oracle = multiclass_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(labels), 4, n_bins=bins)
    assert error == pytest.approx(float(oracle), abs=1e-6)


@given(st.integers(1, 20), st.integers(0, 60), st.integers(0, 1000))
def test_reliability_rows__every_image_in_its_bin(bins: int, count: int, seed: int) -> None:
    logits, labels = drawn(count, seed)
    confidence = softmax(logits).max(axis=1)

    rows = reliability_rows(labels, softmax(logits), bins)

    assert [row["low"] for row in rows] + [1.0] == pytest.approx(np.linspace(0, 1, bins + 1))
    assert [row["high"] for row in rows] == pytest.approx(np.linspace(0, 1, bins + 1)[1:])
    assert sum(row["images"] for row in rows) == count
    assert sum(row["right"] for row in rows) == (softmax(logits).argmax(axis=1) == labels).sum()
    for row in rows:
        members = (confidence > row["low"]) & (confidence <= row["high"])
        assert row["images"] == members.sum()
        assert (row["accuracy"] is None) == (row["confidence"] is None) == (row["images"] == 0)


def test_reliability_rows__ends_of_the_bins() -> None:
    rows = reliability_rows(np.array([0, 0, 1]), np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), bins=2)

    assert [(row["images"], row["right"], row["accuracy"], row["confidence"]) for row in rows] == [
        (1, 1, 1.0, 0.5), (2, 2, 1.0, 1.0),
    ]  # fmt: skip


def test_calibration_error__by_hand() -> None:
    rows: list[dict[str, Any]] = [
        {"images": 3, "accuracy": 0.5, "confidence": 0.75},
        {"images": 1, "accuracy": 1.0, "confidence": 0.9},
        {"images": 0, "accuracy": None, "confidence": None},
    ]

    assert calibration_error(rows) == pytest.approx((3 * 0.25 + 0.1) / 4)
    assert calibration_error([]) is None


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 5.0])
def test_fit_temperature__takes_back_what_was_added(sharpness: float) -> None:
    logits, labels = drawn(20_000, sharpness=sharpness)

    assert fit_temperature(logits, labels) == pytest.approx(sharpness, rel=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_fit_temperature__scipy(seed: int) -> None:
    logits, labels = drawn(60, seed, sharpness=3)

    temperature = fit_temperature(logits, labels)

    oracle = minimize_scalar(
        lambda power: log_loss(labels, softmax(logits, np.exp(power))), bounds=(-4, 4), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    assert temperature == pytest.approx(np.exp(oracle.x), rel=1e-4)
    assert log_loss(labels, softmax(logits, temperature)) <= oracle.fun + 1e-12
    assert fit_temperature(np.log(softmax(logits)), labels) == pytest.approx(temperature, rel=1e-6)


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "no-split": (np.zeros((0, 4)), [], "there is no validation split"),
    "diverged": (np.array([[np.nan, 0.0]]), [0], "has diverged"),
    "separable": (np.eye(4) * 5, [0, 1, 2, 3], "all 4 validation images are predicted correctly"),
    "separable-with-a-tie": (np.array([[1.0, 1.0], [2.0, 0.0]]), [1, 0], "all 2 validation images"),
    "all-but-separable": (np.vstack([np.eye(4)[:3] / 20, [1e-9, 0, 0, 0]]), [0, 1, 2, 3], "would be below 0.01"),
    "worse-than-chance": (-np.eye(4), [0, 1, 2, 3], "would be above 100: .* no better than chance"),
    "best-as-it-is": (np.log([[0.75, 0.25]] * 4), [0, 0, 0, 1], "none has a lower log loss .* than 1"),
}


@pytest.mark.parametrize(("logits", "labels", "reason"), REFUSED.values(), ids=REFUSED)
@pytest.mark.filterwarnings("error")
def test_fit_temperature__refused_with_the_reason(logits: Any, labels: Any, reason: str) -> None:
    with pytest.raises(NoTemperature, match=reason) as error:
        fit_temperature(logits, np.array(labels, dtype=np.int64))

    result = run_probabilities(*drawn(20), CLASSES, (logits, np.array(labels, dtype=np.int64)))
    assert (result["temperature"], result["calibrated"]) == (None, None)
    assert result["no_temperature"] == str(error.value)


@given(st.integers(1, 40), st.integers(0, 10**6), st.floats(-4, 4), st.floats(0, 30))
def test_fit_temperature__better_on_validation_or_refused(count: int, seed: int, power: float, skill: float) -> None:
    """`skill` is added to the true class's logit: from 0, chance, to 30, all correct."""
    logits, labels = drawn(count, seed, sharpness=10**power)
    logits[np.arange(count), labels] += skill * 10**power
    result = run_probabilities(logits, labels, CLASSES, (logits, labels))

    if (logits.argmax(axis=1) == labels).all():
        assert "predicted correctly" in result["no_temperature"]
    if result["temperature"] is None:
        assert result["calibrated"] is None
        assert result["no_temperature"]
    else:
        assert COLDEST < result["temperature"] < HOTTEST
        assert result["calibrated"]["log_loss"] < result["log_loss"]
        assert result["no_temperature"] is None


@given(st.integers(0, 10**6), st.floats(0.2, 5))
def test_fit_temperature__scales_with_the_logits(seed: int, factor: float) -> None:
    logits, labels = drawn(60, seed, sharpness=2)

    assert fit_temperature(logits * factor, labels) == pytest.approx(factor * fit_temperature(logits, labels), rel=1e-6)


def test_run_probabilities__temperature_from_validation_alone() -> None:
    logits, labels = drawn(400, 0, sharpness=4)
    validation = drawn(300, 1, sharpness=4)

    result = run_probabilities(logits, labels, CLASSES, validation)

    assert result["temperature"] == fit_temperature(*validation)
    assert result["calibrated"] == quality(labels, softmax(logits, result["temperature"]))
    assert result["calibrated"]["calibration_error"] < result["calibration_error"] / 2
    assert result["calibrated"]["log_loss"] < result["log_loss"]
    rights = [sum(row["right"] for row in table["reliability"]) for table in (result, result["calibrated"])]
    assert rights[0] == rights[1], "a temperature changes no prediction"
    assert json.loads(json.dumps(result)) == result


def test_run_probabilities__without_validation() -> None:
    result = run_probabilities(*drawn(50), CLASSES)

    assert result["temperature"] is result["calibrated"] is None
    assert result["no_temperature"].startswith("there is no validation split")
    assert result["bins"] == len(result["reliability"]) == 15


DIVERGED: dict[str, tuple[Any, Any]] = {
    "test-split": (np.full((5, 4), np.nan), drawn(20)),
    "infinite": (np.full((5, 4), np.inf), drawn(20)),
    "validation-split": (drawn(5)[0], (np.full((20, 4), np.nan), np.zeros(20, dtype=np.int64))),
    "empty-validation": (drawn(5)[0], (np.zeros((0, 4)), np.zeros(0, dtype=np.int64))),
}


@pytest.mark.parametrize(("logits", "validation"), DIVERGED.values(), ids=DIVERGED)
@pytest.mark.filterwarnings("error")
def test_run_probabilities__what_can_not_be_known_is_none(logits: Any, validation: Any) -> None:
    result = run_probabilities(logits, np.arange(5) % 4, CLASSES, validation)

    json.dumps(result, allow_nan=False)
    if np.isfinite(logits).all():
        assert result["temperature"] is None
        assert result["log_loss"] > 0
    else:
        assert [result[name] for name in ("auroc", "brier", "log_loss", "calibration_error")] == [None] * 4
        assert result["reliability"] == []
