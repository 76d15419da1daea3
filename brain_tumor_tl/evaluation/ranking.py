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
SMALLEST = float(np.finfo(np.float64).tiny)  # 2e-308, stands for a probability of 0 in a logarithm
FEW = 200  # positive images up to which comparing each with all images takes less time than sorting the weights


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
        weights: How often each image counts, `(R, N)`, whole numbers; None for once.

    Returns:
        `(R,)`; NaN if there are no positive or no negative images, or a score is not finite.
    """
    weights = np.ones((1, len(scores))) if weights is None else weights
    if len(scores) == 0 or not np.isfinite(scores).all():
        return np.full(len(weights), np.nan)
    hits, below, misses = (below_each if positive.sum() <= FEW else below_sorted)(scores, positive, weights)
    return ratio((hits * below).sum(axis=1), hits.sum(axis=1) * misses)


def below_each(scores: Values, positive: NDArray[np.bool_], weights: NDArray[Any]) -> tuple[Values, Values, Values]:
    """Return the weights of the positive images, of the negatives below each (ties half), and of all negatives.

    Args:
        scores: As for `auroc`, as are the others.
        positive: The time is proportional to the number of positive images, and so, for the classes together, to N.
        weights: `(R, N)`, float32 or float64.

    Returns:
        `(R, P)`, `(R, P)` and `(R,)`.
    """
    marks = np.append(scores[positive], np.inf)  # below the last one are all negatives
    beaten = ((scores[:, None] < marks).astype(weights.dtype) + (scores[:, None] <= marks)) / 2
    beaten[positive] = 0
    sums = (weights @ beaten).astype(np.float64)
    return weights[:, positive].astype(np.float64), sums[:, :-1], sums[:, -1]


def below_sorted(scores: Values, positive: NDArray[np.bool_], weights: NDArray[Any]) -> tuple[Values, Values, Values]:
    """Return the same as `below_each` for each distinct score in place of each positive image, in time R * N."""
    order, starts = tie_blocks(scores)
    sorted_weights, mask = weights[:, order], positive[order]
    hits = np.add.reduceat(sorted_weights * mask, starts, axis=1).astype(np.float64)
    misses = np.add.reduceat(sorted_weights * ~mask, starts, axis=1).astype(np.float64)
    return hits, misses.cumsum(axis=1) - misses / 2, misses.sum(axis=1)


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
        weights: How often each image counts, `(R, N)`, whole numbers; None for once.

    Returns:
        `(R,)` each; NaN for a class without images, which the mean leaves out.
    """
    weights = None if weights is None else weights.astype(np.float32)  # half the time, and exact for whole numbers
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
    """Return AUROC and average precision of each class against the rest, and their means over the classes with images.

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
    }


def finite_or_none(value: float) -> float | None:
    """Return a number as it is, None for NaN and infinity.

    >>> finite_or_none(float("nan")), finite_or_none(0.5)
    (None, 0.5)
    """
    return float(value) if np.isfinite(value) else None
