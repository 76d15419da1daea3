"""Curves: ROC and precision-recall of each class against the rest, images of equal score taken together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.evaluation.ranking import Values, tie_blocks


def roc_points(scores: Values, positive: NDArray[np.bool_]) -> tuple[Values, Values]:
    """Return the ROC curve: false and true positive rates `(P,)` from (0, 0) to (1, 1), one point for each score.

    The area under it by trapezoids is `ranking.auroc`, since a tie is a straight line.

    Args:
        scores: Score of each image, `(N,)`.
        positive: Which images are of the class, `(N,)`.

    Returns:
        Both empty without positive or without negative images, or if a score is not finite.
    """
    if not positive.any() or positive.all() or not np.isfinite(scores).all():
        return np.zeros(0), np.zeros(0)
    hits, predicted = hits_above(scores, positive)
    false, true = predicted - hits, hits
    return np.append(0, false / false[-1]), np.append(0, true / true[-1])


def precision_recall_points(scores: Values, positive: NDArray[np.bool_]) -> tuple[Values, Values]:
    """Return recall and precision `(P,)`, one point for each score, from the highest to the lowest.

    They are steps: a precision holds for the recalls down to the point before. The area under the steps is
    `ranking.average_precision`.

    Args:
        scores: Score of each image, `(N,)`.
        positive: Which images are of the class, `(N,)`.

    Returns:
        Both empty without positive images, or if a score is not finite.
    """
    if not positive.any() or not np.isfinite(scores).all():
        return np.zeros(0), np.zeros(0)
    hits, predicted = hits_above(scores, positive)
    return hits / hits[-1], hits / predicted


def hits_above(scores: Values, positive: NDArray[np.bool_]) -> tuple[Values, Values]:
    """Return the number of positive images and of all images at or above each distinct score, in descending order."""
    order, starts = tie_blocks(-scores)
    hits = np.add.reduceat(positive[order].astype(np.float64), starts).cumsum()
    return hits, np.append(starts[1:], len(scores)).astype(np.float64)
