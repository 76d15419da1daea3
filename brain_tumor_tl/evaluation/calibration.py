"""Calibration: whether an image called glioma with 90 % is one in 9 of 10 cases, and one number that mends it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain_tumor_tl.evaluation.ranking import Values, brier_score, log_loss, number, run_ranking, softmax

BINS = 15  # as in Guo et al. 2017
COLDEST, HOTTEST = 0.01, 100.0  # range of the temperature; beyond it probabilities are 0, 1 or 1/K for all purposes


def reliability_rows(labels: NDArray[np.int64], probabilities: Values, bins: int = BINS) -> list[dict[str, Any]]:
    """Return one row for each bin of confidence: its range, its images, their mean confidence and accuracy.

    Confidence is the probability of the predicted class. Bins are of equal width and hold their upper end, (low, high];
    the first one holds 0 too.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        bins: Number of bins.
    """
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    rows = []
    for number_of_bin in range(bins):
        members = place == number_of_bin
        filled = bool(members.any())
        rows.append(
            {
                "low": float(edges[number_of_bin]),
                "high": float(edges[number_of_bin + 1]),
                "images": int(members.sum()),
                "right": int(hits[members].sum()),
                "confidence": float(confidence[members].mean()) if filled else None,
                "accuracy": float(hits[members].mean()) if filled else None,
            }
        )
    return rows


def calibration_error(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the expected calibration error: the bins' distance of accuracy from confidence, weighted by their images.

    Naeini et al. 2015 (AAAI), Guo et al. 2017 (ICML, equation 3). It depends on the bins, and of few images it is
    above 0 for perfect probabilities too.

    Args:
        rows: As `reliability_rows` returns them.

    Returns:
        None where there are no images.
    """
    filled = [row for row in rows if row["images"]]
    images = sum(row["images"] for row in filled)
    distance = sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in filled)
    return float(distance / images) if images else None


def fit_temperature(logits: ArrayLike, labels: NDArray[np.int64]) -> float:
    """Return the temperature T that gives softmax(logits / T) the least log loss.

    Guo et al. 2017 (ICML, section 4.2). The log loss is convex in 1 / T, so its slope there, the mean over images of
    the expected logit less that of the true class, changes sign once: bisection finds where. Where all images are right
    the loss falls without end, and T is `COLDEST`; where the logits are worse than none, it is `HOTTEST`.

    Args:
        logits: `(N, K)`, or log probabilities, of validation images: never of those that are tested, whose
            calibration would then look better than it is.
        labels: True class of each image, `(N,)`.

    Raises:
        ValueError: There are no images, or a logit is not a finite number.
    """
    values = np.asarray(logits, dtype=np.float64)
    if len(labels) == 0 or values.shape[0] != len(labels):
        raise ValueError(
            f"Expected logits and labels of validation images, got {values.shape[0]} and {len(labels)}. "
            "data.val_fraction=0.1 makes a validation part."
        )
    if not np.isfinite(values).all():
        raise ValueError("Expected finite logits to fit a temperature to, got NaN or infinity: the run has diverged.")
    above_truth = values - values[np.arange(len(labels)), labels][:, None]
    low, high = math.log(1 / HOTTEST), math.log(1 / COLDEST)
    while high - low > 1e-10:
        middle = (low + high) / 2
        slope = (softmax(values, math.exp(-middle)) * above_truth).sum(axis=1).mean()
        low, high = (middle, high) if slope < 0 else (low, middle)
    return min(max(math.exp(-(low + high) / 2), COLDEST), HOTTEST)


def quality(labels: NDArray[np.int64], probabilities: Values, bins: int = BINS) -> dict[str, Any]:
    """Return Brier score, log loss, expected calibration error and the rows that it comes from.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        bins: Number of bins of confidence.
    """
    if len(labels) == 0 or not np.isfinite(probabilities).all():
        return {"brier": None, "log_loss": None, "calibration_error": None, "bins": bins, "reliability": []}
    rows = reliability_rows(labels, probabilities, bins)
    return {
        "brier": number(brier_score(labels, probabilities)),
        "log_loss": number(log_loss(labels, probabilities)),
        "calibration_error": calibration_error(rows),
        "bins": bins,
        "reliability": rows,
    }


def run_probabilities(
    logits: ArrayLike,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    validation: tuple[ArrayLike, NDArray[np.int64]] | None = None,
) -> dict[str, Any]:
    """Return what a run's results.json says of its probabilities on the test part.

    Args:
        logits: Of the test part, `(N, K)`.
        labels: True class of each test image, `(N,)`.
        classes: Name of each class.
        validation: Logits and labels of the validation part by the same weights; None where there is none. The
            temperature is fitted on them, and `calibrated` has the figures that change with it.
    """
    probabilities = softmax(logits)
    result = {**run_ranking(labels, probabilities, classes), **quality(labels, probabilities)}
    usable = validation is not None and len(validation[1]) > 0 and np.isfinite(validation[0]).all()
    if validation is None or not usable:
        return {**result, "temperature": None, "calibrated": None}
    temperature = fit_temperature(*validation)
    return {**result, "temperature": temperature, "calibrated": quality(labels, softmax(logits, temperature))}
