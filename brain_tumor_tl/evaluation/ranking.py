"""Probabilities: whether a run's probabilities order the images well, and whether they are as good as they claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]
SMALLEST = 1e-15  # a probability of 0 is taken for this in a logarithm, as predictions.csv rounds small ones to 0


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Values:
    """Return probabilities `(N, K)` of logits, or of log probabilities, divided by a temperature first."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    with np.errstate(invalid="ignore"):  # a diverged run's infinities give NaN, which the figures report as None
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: Values = powers / powers.sum(axis=1, keepdims=True)
    return shares


def auroc(scores: Values, positive: NDArray[np.bool_], weights: Values | None = None) -> Values:
    """Return the area under the ROC curve: how often a positive image scores above a negative one, ties half.

    The Mann-Whitney statistic as a share (Mann, Whitney 1947, Ann. Math. Stat. 18:50; Hanley, McNeil 1982, Radiology
    143:29).

    Args:
        scores: One for each image, `(N,)`.
        positive: Which images are of the class, `(N,)`.
        weights: How often each image counts, `(R, N)`; None for once.

    Returns:
        `(R,)`; NaN where there are no positive or no negative images, or a score is NaN.
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    if len(scores) == 0 or not np.isfinite(scores).all():
        return np.full(len(weights), np.nan)
    order, starts = blocks_of_ties(scores)
    sorted_weights, mask = weights[:, order], positive[order]
    hits = np.add.reduceat(sorted_weights * mask, starts, axis=1)
    misses = np.add.reduceat(sorted_weights * ~mask, starts, axis=1)
    below = misses.cumsum(axis=1) - misses
    pairs = hits.sum(axis=1) * misses.sum(axis=1)
    won = (hits * (below + misses / 2)).sum(axis=1)
    return share(won, pairs)


def average_precision(scores: Values, positive: NDArray[np.bool_]) -> float | None:
    """Return the mean precision over the recalls reached, thresholds falling, images of one score taken together.

    The area under the precision-recall curve as a sum of steps, without interpolation, which would flatter (Davis,
    Goadrich 2006, ICML; Boyd et al. 2013, ECML).

    Args:
        scores: One for each image, `(N,)`.
        positive: Which images are of the class, `(N,)`.

    Returns:
        None where no image is of the class, or a score is NaN.
    """
    if not positive.any() or not np.isfinite(scores).all():
        return None
    order, starts = blocks_of_ties(-scores)
    hits = np.add.reduceat(positive[order].astype(np.float64), starts)
    taken = np.append(starts[1:], len(scores))
    return float((hits * hits.cumsum() / taken).sum() / hits.sum())


def blocks_of_ties(scores: Values) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the ascending order of scores `(N,)`, and where in it each new score starts."""
    order = np.argsort(scores, kind="stable")
    new = np.diff(scores[order], prepend=-np.inf) != 0
    return order, np.flatnonzero(new)


def rank_figures(
    labels: NDArray[np.int64], probabilities: Values, classes: Sequence[str], weights: Values | None = None
) -> dict[str, Values]:
    """Return the AUROC of each class against the rest as `auroc/glioma_tumor`, and their plain mean as `auroc`.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
        weights: How often each image counts, `(R, N)`; None for once.

    Returns:
        `(R,)` each; NaN for a class without images, which the mean leaves out.
    """
    by_class = [auroc(probabilities[:, label], labels == label, weights) for label in range(len(classes))]
    named = {f"auroc/{name}": values for name, values in zip(classes, by_class, strict=True)}
    return {"auroc": mean_defined(np.stack(by_class, axis=1)), **named}


def mean_defined(values: Values) -> Values:
    """Return the mean of each row `(R, K)` over its numbers, NaN where it has none."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return share(total, count)


def share(parts: Values, whole: NDArray[Any]) -> Values:
    """Return `parts / whole`, NaN where the whole is 0."""
    result: Values = np.divide(parts, whole, out=np.full(parts.shape, np.nan), where=whole > 0)
    return result


def brier_score(labels: NDArray[np.int64], probabilities: Values) -> float:
    """Return the mean squared distance of probabilities from the truth, summed over the classes: 0 best, 2 worst.

    Brier 1950 (Mon. Weather Rev. 78:1) in its original form for several classes.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def log_loss(labels: NDArray[np.int64], probabilities: Values) -> float:
    """Return the mean negative logarithm of the true class's probability (Good 1952, J. R. Stat. Soc. B 14:107).

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`; none counts as smaller than `SMALLEST`.
    """
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_truth, SMALLEST)).mean())


def run_ranking(labels: NDArray[np.int64], probabilities: Values, classes: Sequence[str]) -> dict[str, Any]:
    """Return AUROC and average precision of each class against the rest, their means, and the classes without images.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
    """
    areas = {name: float(value[0]) for name, value in rank_figures(labels, probabilities, classes).items()}
    precisions = [average_precision(probabilities[:, label], labels == label) for label in range(len(classes))]
    known = [value for value in precisions if value is not None]
    return {
        "auroc": number(areas["auroc"]),
        "average_precision": sum(known) / len(known) if known else None,
        "per_class": {
            name: {"auroc": number(areas[f"auroc/{name}"]), "average_precision": precision}
            for name, precision in zip(classes, precisions, strict=True)
        },
        "absent": [name for label, name in enumerate(classes) if not (labels == label).any()],
    }


def number(value: float) -> float | None:
    """Return a number as it is, None for NaN and infinity.

    >>> number(float("nan")), number(0.5)
    (None, 0.5)
    """
    return float(value) if np.isfinite(value) else None
