"""Novelty: how far images are from the training images, to warn of pictures that a network can say nothing about.

The distance is that of the nearest training image, by the angle between features (Sun et al. 2022, "Out-of-distribution
detection with deep nearest neighbors", arXiv:2204.06507). docs/inference.md has the comparison with other distances.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Vectors = NDArray[np.floating]
Directions = NDArray[np.float32]
Groups = NDArray[np.int64]

IMAGES, NUMBERS = 2000, 512  # at most so many training images are kept, and of each so many numbers: 2 MB in float16
SHARE = 0.05  # of images like the training images that are called unlike them, as in the field's "FPR at 95 % TPR"
LEAST = 0.01  # threshold; bfloat16 in place of float32 moved MobileNetV2's features by up to 0.005
ROWS = 256  # images whose features are in memory in float32 at a time


@dataclass(frozen=True, eq=False)
class Reference:
    """What is kept of training images to tell whether another image is unlike them.

    Attributes:
        directions: Their features as `directions_of` returns them, float16 `(N, M)`.
        width: Number of features D of an image.
        threshold: The distance above which an image is called unlike the training images.
    """

    directions: NDArray[np.float16]
    width: int
    threshold: float

    def distances(self, features: Vectors) -> NDArray[np.float32]:
        """Return the distance of each image to the nearest training image, `(B,)`: 0 for the same one, at most 2.

        Args:
            features: Of the images, from the same backbone, `(B, D)`.

        Raises:
            ValueError: They are of another width.
        """
        if features.ndim != 2 or features.shape[1] != self.width:
            raise ValueError(f"Expected features of shape (images, {self.width}), got {features.shape}.")
        return nearest(directions_of(features), self._kept)

    @cached_property
    def _kept(self) -> Directions:
        """The directions in float32, of length 1 again after their rounding."""
        return unit(self.directions.astype(np.float32))


def make_reference(directions: Directions, width: int, groups: Groups) -> Reference | None:
    """Return what to keep of training images; None if they show no distance between images.

    The threshold is the distance that the share `SHARE` of the training images exceeds, each compared with those of
    other groups, since a new image is of another patient; but at least `LEAST`.

    Args:
        directions: Of training images, or of a sample of them, as `directions_of` returns them, `(N, M)`.
        width: Number of features of an image.
        groups: Group of each, `(N,)`, such as its patient; images without one have groups of their own.
    """
    rounded = directions.astype(np.float16)
    kept = unit(rounded.astype(np.float32))
    apart = nearest(kept, kept, groups)
    known = apart[np.isfinite(apart)]
    if not len(known) or not np.isfinite(kept).all():
        return None
    return Reference(rounded, width, max(float(np.quantile(known, 1 - SHARE)), LEAST))


def sample(count: int) -> NDArray[np.int64]:
    """Return which of the training images to keep, ascending: all, or `IMAGES` drawn with a fixed seed.

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


def nearest(directions: Directions, kept: Directions, groups: Groups | None = None) -> NDArray[np.float32]:
    """Return 1 - cosine of the angle to the nearest kept vector for each vector, `(B,)`.

    Args:
        directions: Vectors of length 1, `(B, M)`.
        kept: Vectors of length 1, `(N, M)`.
        groups: If the two are the same images, the group of each, `(N,)`: those of its own group are left out, and
            where none is left the distance is infinite.
    """
    found = np.empty(len(directions), dtype=np.float32)
    for start in range(0, len(directions), ROWS):
        rows = slice(start, start + ROWS)
        cosines = directions[rows] @ kept.T
        if groups is not None:
            cosines[groups[rows, None] == groups] = -np.inf
        found[rows] = np.maximum(1 - cosines.max(axis=1), 0)
    return found
