"""Suspects: images whose label is contradicted by models that were not trained on them, ranked for review.

The ranking is that of confident learning by class (Northcutt et al. 2021, doi:10.1613/jair.1.12125): images of one
label are ordered by the margin between its probability and that of the most probable other class, and the labels
share the list. Confident errors are common where a class is hard, and would hide the rare ones of an easy class, which
are more often wrong labels. It orders images for a reader; it counts no errors, since a model is often sure and wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Values = NDArray[np.float64]


def rank_label_suspects(probabilities: Values, labels: Labels) -> NDArray[np.int64]:
    """Return the images that are predicted as another class than their label, the most contradicted first, `(M,)`.

    Args:
        probabilities: Of each class for each image, `(N, K)`, from models that were not trained on the image.
        labels: Label of each image, `(N,)`.

    >>> rank_label_suspects(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), np.array([1, 1, 1])).tolist()
    [0, 1]
    """
    margins = label_margins(probabilities, labels)
    places = np.zeros(len(labels))  # which share of the images with the same label is contradicted more
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        places[own[np.argsort(margins[own], kind="stable")]] = np.arange(len(own)) / len(own)
    order = np.lexsort((margins, places))
    return order[margins[order] < 0].astype(np.int64)


def label_margins(probabilities: Values, labels: Labels) -> Values:
    """Return the probability of each image's label less that of the most probable other class, `(N,)`.

    It is negative where another class is predicted, and NaN where a probability is not finite.

    >>> label_margins(np.array([[0.7, 0.2, 0.1]]), np.array([2])).round(2).tolist()
    [-0.6]
    """
    rows = np.arange(len(labels))
    others = np.array(probabilities, dtype=np.float64)
    own = others[rows, labels]
    others[rows, labels] = -np.inf
    margins: Values = own - others.max(axis=1)
    return margins
