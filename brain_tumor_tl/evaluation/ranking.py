"""Ranking: AUROC, average precision, Brier score and log loss of a run's probabilities.

They are computed here in float64 with NumPy: torchmetrics computes them in float32 and needs torch, which reports do
without, and neither it nor scikit-learn takes the weights of many bootstrap resamples at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.int64]
Values = NDArray[np.float64]
SMALLEST = 1e-15  # stands for a probability of 0 in a logarithm; predictions.csv rounds small ones to 0


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Values:
    """Return the softmax `(N, K)` of logits, or of log probabilities, divided by a temperature."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    with np.errstate(invalid="ignore"):  # infinities of a diverged run become NaN, which the metrics report as None
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    shares: Values = powers / powers.sum(axis=1, keepdims=True)
    return shares


def auroc(scores: Values, positive: NDArray[np.bool_], weights: Values | None = None) -> Values:
    """Return the area under the ROC curve: the share of positive-negative pairs ranked correctly, ties counting half.

    The Mann-Whitney statistic as a share (Mann, Whitney 1947, Ann. Math. Stat. 18:50; Hanley, McNeil 1982, Radiology
    143:29).

    Args:
        scores: Score of each image, `(N,)`.
        positive: Which images are of the class, `(N,)`.
        weights: How often each image counts, `(R, N)`; None for once.

    Returns:
        `(R,)`; NaN if there are no positive or no negative images, or a score is not finite.
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    if len(scores) == 0 or not np.isfinite(scores).all():
        return np.full(len(weights), np.nan)
    order, starts = tie_blocks(scores)
    sorted_weights, mask = weights[:, order], positive[order]
    hits = np.add.reduceat(sorted_weights * mask, starts, axis=1)
    misses = np.add.reduceat(sorted_weights * ~mask, starts, axis=1)
    below = misses.cumsum(axis=1) - misses
    return ratio((hits * (below + misses / 2)).sum(axis=1), hits.sum(axis=1) * misses.sum(axis=1))


def average_precision(scores: Values, positive: NDArray[np.bool_]) -> float | None:
    """Return the area under the precision-recall curve as a sum of steps, images of equal score taken together.

    There is no interpolation, which would be optimistic (Davis, Goadrich 2006, ICML; Boyd et al. 2013, ECML).

    Args:
        scores: Score of each image, `(N,)`.
        positive: Which images are of the class, `(N,)`.

    Returns:
        None if no image is of the class, or a score is not finite.
    """
    if not positive.any() or not np.isfinite(scores).all():
        return None
    order, starts = tie_blocks(-scores)
    hits = np.add.reduceat(positive[order].astype(np.float64), starts)
    predicted = np.append(starts[1:], len(scores))
    return float((hits * hits.cumsum() / predicted).sum() / hits.sum())


def tie_blocks(scores: Values) -> tuple[Labels, Labels]:
    """Return the ascending order of scores `(N,)`, and the positions in it at which a new score starts."""
    order = np.argsort(scores, kind="stable")
    return order, np.flatnonzero(np.diff(scores[order], prepend=-np.inf) != 0)


def class_aurocs(
    labels: Labels, probabilities: Values, classes: Sequence[str], weights: Values | None = None
) -> dict[str, Values]:
    """Return the AUROC of each class against the rest as `auroc/glioma_tumor`, and their unweighted mean as `auroc`.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
        weights: How often each image counts, `(R, N)`; None for once.

    Returns:
        `(R,)` each; NaN for a class without images, which the mean leaves out.
    """
    areas = [auroc(probabilities[:, label], labels == label, weights) for label in range(len(classes))]
    named = {f"auroc/{name}": values for name, values in zip(classes, areas, strict=True)}
    return {"auroc": mean_defined(np.stack(areas, axis=1)), **named}


def mean_defined(values: Values) -> Values:
    """Return the mean of each row `(R, K)` without its NaN, NaN for a row of nothing else."""
    known = np.isfinite(values)
    return ratio(np.where(known, values, 0).sum(axis=1), known.sum(axis=1))


def ratio(parts: Values, whole: NDArray[Any]) -> Values:
    """Return `parts / whole`, NaN where the whole is 0."""
    result: Values = np.divide(parts, whole, out=np.full(parts.shape, np.nan), where=whole > 0)
    return result


def brier_score(labels: Labels, probabilities: Values) -> float:
    """Return the squared error of probabilities `(N, K)`, summed over the classes: 0 is best, 2 worst.

    Brier 1950 (Mon. Weather Rev. 78:1) in its original form for several classes.
    """
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def log_loss(labels: Labels, probabilities: Values) -> float:
    """Return the mean negative logarithm of the true class's probability, at least `SMALLEST`.

    Good 1952 (J. R. Stat. Soc. B 14:107).
    """
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_truth, SMALLEST)).mean())


def run_ranking(labels: Labels, probabilities: Values, classes: Sequence[str]) -> dict[str, Any]:
    """Return AUROC and average precision of each class against the rest, their means, and the classes without images.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
    """
    areas = {name: finite_or_none(value[0]) for name, value in class_aurocs(labels, probabilities, classes).items()}
    precisions = [average_precision(probabilities[:, label], labels == label) for label in range(len(classes))]
    known = [value for value in precisions if value is not None]
    return {
        "auroc": areas["auroc"],
        "average_precision": sum(known) / len(known) if known else None,
        "per_class": {
            name: {"auroc": areas[f"auroc/{name}"], "average_precision": precision}
            for name, precision in zip(classes, precisions, strict=True)
        },
        "absent": absent_classes(labels, classes),
    }


def absent_classes(labels: Labels, classes: Sequence[str]) -> list[str]:
    """Return the names of the classes that no image has."""
    return [name for label, name in enumerate(classes) if not (labels == label).any()]


def finite_or_none(value: float) -> float | None:
    """Return a number as it is, None for NaN and infinity.

    >>> finite_or_none(float("nan")), finite_or_none(0.5)
    (None, 0.5)
    """
    return float(value) if np.isfinite(value) else None
