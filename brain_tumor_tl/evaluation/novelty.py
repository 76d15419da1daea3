"""Novelty: how far images are from the training images, to warn of pictures that a network can say nothing about.

The distance is Mahalanobis' to the mean of the training images, of features scaled to length 1 (as in Lee et al. 2018,
arXiv:1807.03888, but for its mean of each class). docs/inference.md has the comparison with other distances.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Vectors = NDArray[np.floating]
Directions = NDArray[np.float32]
Numbers = NDArray[np.int64]

IMAGES, NUMBERS = 2000, 512  # at most so many training images are used, and of each so many numbers
SHARE = 0.05  # of images like the training images that are called unlike them, as in the field's "FPR at 95 % TPR"
SHRINK = 0.3  # of the mean variance, added to each: in many directions training images hardly differ
LEAST = 1e-9  # variance, where all features are the same
FOLDS = 5
ROWS = 256  # images whose features are in memory in float32 at a time


@dataclass(frozen=True, eq=False)
class Reference:
    """What is kept of training images to tell whether another image is unlike them.

    Attributes:
        axes: What directions of features are multiplied by to have covariance 1, about, `(M, M)`.
        centre: The mean of the training images after that, `(M,)`.
        width: Number of features D of an image.
        threshold: The distance above which an image is called unlike the training images.
    """

    axes: Directions
    centre: Directions
    width: int
    threshold: float = np.inf

    def distances(self, features: Vectors) -> Directions:
        """Return the Mahalanobis distance of each image to the mean of the training images, `(B,)`.

        Args:
            features: Of the images, from the same backbone, `(B, D)`.

        Raises:
            ValueError: They are of another width.
        """
        if features.ndim != 2 or features.shape[1] != self.width:
            raise ValueError(f"Expected features of shape (images, {self.width}), got {features.shape}.")
        return self.apart(directions_of(features))

    def apart(self, directions: Directions) -> Directions:
        """Return the distances of directions, as `directions_of` returns them, `(B,)`."""
        found: Directions = np.linalg.norm(directions @ self.axes - self.centre, axis=1)
        return found


def make_reference(directions: Directions, width: int, groups: Numbers) -> Reference | None:
    """Return what to keep of training images; None if they show no distances, as those of one patient.

    The threshold is the distance that the share `SHARE` of the training images exceeds, each measured by the images of
    other groups alone (cross-validation in `FOLDS` folds), since a new image is of another patient.

    Args:
        directions: Of training images, or of a sample of them, as `directions_of` returns them, `(N, M)`.
        width: Number of features of an image.
        groups: Group of each, `(N,)`, such as its patient; images without one have groups of their own.
    """
    units, unit_of = np.unique(groups, return_inverse=True)
    if len(units) < 2 or not np.isfinite(directions).all():
        return None
    fold = (RandomState(0).permutation(len(units)) % FOLDS)[unit_of]
    apart = np.empty(len(directions))
    for held in np.unique(fold):
        rest = fold != held
        apart[~rest] = fitted(directions[rest], width).apart(directions[~rest])
    return replace(fitted(directions, width), threshold=float(np.quantile(apart, 1 - SHARE)))


def fitted(directions: Directions, width: int) -> Reference:
    """Return the mean of directions and what makes their covariance 1, with an infinite threshold."""
    mean = directions.mean(axis=0)
    rest = directions - mean
    variances, axes = np.linalg.eigh(rest.T @ rest / len(rest))
    variances = np.maximum(variances, 0)
    axes = (axes / np.sqrt(variances + SHRINK * variances.mean() + LEAST)).astype(np.float32)
    return Reference(axes, mean @ axes, width)


def sample(count: int) -> NDArray[np.int64]:
    """Return which of the training images to use, ascending: all, or `IMAGES` drawn with a fixed seed.

    >>> sample(3).tolist()
    [0, 1, 2]
    """
    return np.sort(RandomState(0).permutation(count)[:IMAGES])


def directions_of(features: Vectors) -> Directions:
    """Return features as vectors of length 1 with at most `NUMBERS` numbers, `(N, M)`.

    Args:
        features: `(N, D)`; they may be memory-mapped.
    """
    found = np.empty((len(features), min(features.shape[1], NUMBERS)), dtype=np.float32)
    for start in range(0, len(features), ROWS):
        rows = np.asarray(features[start : start + ROWS], dtype=np.float32)
        found[start : start + ROWS] = unit(rows if rows.shape[1] <= NUMBERS else hashed(rows))
    return found


def hashed(features: Directions) -> Directions:
    """Return `NUMBERS` sums of features, which keep the angles between images in expectation, `(N, NUMBERS)`.

    Each is the sum of every `NUMBERS`-th feature, with random signs (feature hashing: Weinberger et al. 2009,
    arXiv:0902.2206).

    Args:
        features: `(N, D)`.
    """
    width, sums = features.shape[1], np.zeros((len(features), NUMBERS), dtype=np.float32)
    signs = RandomState(0).choice(np.array([-1, 1], dtype=np.float32), width)
    for start in range(0, width, NUMBERS):
        part = slice(start, start + NUMBERS)
        signed = features[:, part] * signs[part]
        sums[:, : signed.shape[1]] += signed
    return sums


def unit(vectors: Directions) -> Directions:
    """Return vectors scaled to length 1; those that are all zero stay so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Directions = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled
