"""Calibration: whether 9 of 10 images called glioma with 90 % are gliomas, and temperature scaling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain_tumor_tl.evaluation.ranking import Labels, Values, brier_score, log_loss, run_ranking, softmax

BINS = 15  # as in Guo et al. 2017
COLDEST, HOTTEST = 0.01, 100.0  # range of the temperature; at its ends probabilities are practically 0, 1 or 1/K


class NoTemperature(ValueError):
    """Why there is no temperature; the message completes "no temperature: "."""


def reliability_rows(labels: Labels, probabilities: Values, bins: int = BINS) -> list[dict[str, Any]]:
    """Return one row for each confidence bin: its range, its images, their mean confidence and accuracy.

    Confidence is the probability of the predicted class. Bins have equal width and include their upper end,
    (low, high]; the first one includes 0 too.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        bins: Number of bins.
    """
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return [
        {
            "low": float(edges[number]),
            "high": float(edges[number + 1]),
            "images": int((place == number).sum()),
            "right": int(hits[place == number].sum()),
            "confidence": mean_or_none(confidence[place == number]),
            "accuracy": mean_or_none(hits[place == number]),
        }
        for number in range(bins)
    ]


def mean_or_none(values: NDArray[Any]) -> float | None:
    """Return the mean of values `(N,)`, None if there are none."""
    return float(values.mean()) if len(values) else None


def calibration_error(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the expected calibration error: the bins' |accuracy - confidence|, weighted by their images.

    Naeini et al. 2015 (AAAI), Guo et al. 2017 (ICML, equation 3). It depends on the bins, and with few images it is
    above 0 even for perfectly calibrated probabilities.

    Args:
        rows: As `reliability_rows` returns them.

    Returns:
        None if there are no images.
    """
    filled = [row for row in rows if row["images"]]
    images = sum(row["images"] for row in filled)
    distance = sum(row["images"] * abs(row["accuracy"] - row["confidence"]) for row in filled)
    return float(distance / images) if images else None


def fit_temperature(logits: ArrayLike, labels: Labels) -> float:
    """Return the temperature T that minimises the log loss of softmax(logits / T).

    Guo et al. 2017 (ICML, section 4.2). The log loss is convex in 1 / T. Its slope, the mean over images of the
    expected logit minus the true class's logit, changes sign at most once, and bisection finds where. If all images are
    predicted correctly it never does: the log loss falls with T down to 0.

    Args:
        logits: `(N, K)`, or log probabilities, of validation images. Fitted on test images, the temperature would make
            the calibration of the test look better than it is.
        labels: True class of each image, `(N,)`.

    Raises:
        NoTemperature: No temperature between `COLDEST` and `HOTTEST` has the lowest log loss, or none is better than 1;
            the message says why.
    """
    values = np.asarray(logits, dtype=np.float64)
    if len(labels) == 0:
        raise NoTemperature("there is no validation split to fit it on (data.val_fraction=0.1 makes one)")
    if not np.isfinite(values).all():
        raise NoTemperature("the logits of the validation split are not finite: the run has diverged")
    above_truth = values - values[np.arange(len(labels)), labels][:, None]
    if above_truth.max() <= 0:
        raise NoTemperature(
            f"all {len(labels)} validation images are predicted correctly, so the lower it is, the better it seems"
        )

    def slope(power: float) -> float:
        return float((softmax(values, math.exp(-power)) * above_truth).sum(axis=1).mean())

    low, high = math.log(1 / HOTTEST), math.log(1 / COLDEST)
    if slope(high) <= 0:
        raise NoTemperature(f"it would be below {COLDEST}, where every prediction counts as certain")
    if slope(low) >= 0:
        raise NoTemperature(
            f"it would be above {HOTTEST:g}: the logits of the validation split are no better than chance"
        )
    while high - low > 1e-10:
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    temperature = math.exp(-(low + high) / 2)
    if log_loss(labels, softmax(values, temperature)) > log_loss(labels, softmax(values)) - 1e-9:
        raise NoTemperature("none has a lower log loss on the validation split than 1, which changes nothing")
    return temperature


def quality(labels: Labels, probabilities: Values) -> dict[str, Any]:
    """Return Brier score, log loss, expected calibration error and the rows that it is computed from.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
    """
    known = len(labels) > 0 and np.isfinite(probabilities).all()
    rows = reliability_rows(labels, probabilities) if known else []
    return {
        "brier": brier_score(labels, probabilities) if known else None,
        "log_loss": log_loss(labels, probabilities) if known else None,
        "calibration_error": calibration_error(rows),
        "bins": BINS,
        "reliability": rows,
    }


def run_probabilities(
    logits: ArrayLike, labels: Labels, classes: Sequence[str], validation: tuple[ArrayLike, Labels] | None = None
) -> dict[str, Any]:
    """Return what a run's results.json says of its probabilities on the test split.

    Args:
        logits: Of the test split, `(N, K)`.
        labels: True class of each test image, `(N,)`.
        classes: Name of each class.
        validation: Logits and labels of the validation split with the same weights, None if there is no such split.
            The temperature is fitted on them; `calibrated` has the metrics that change with it. Both are None if there
            is none, and `no_temperature` says why.
    """
    try:
        temperature = fit_temperature(*(validation or ((), np.zeros(0, dtype=np.int64))))
    except NoTemperature as reason:
        return probability_metrics(logits, labels, classes, None, str(reason))
    return probability_metrics(logits, labels, classes, temperature)


def probability_metrics(
    logits: ArrayLike, labels: Labels, classes: Sequence[str], temperature: float | None, reason: str | None = None
) -> dict[str, Any]:
    """Return what `run_probabilities` does, with a temperature that is known.

    Args:
        logits: `(N, K)`, or log probabilities.
        labels: True class of each image, `(N,)`.
        classes: Name of each class.
        temperature: None if there is none.
        reason: Why there is none.
    """
    probabilities = softmax(logits)
    return {
        **run_ranking(labels, probabilities, classes),
        **quality(labels, probabilities),
        "temperature": temperature,
        "no_temperature": reason,
        "calibrated": None if temperature is None else quality(labels, softmax(logits, temperature)),
    }
