"""Random: a split of single images, as the study does it."""

from __future__ import annotations

import numpy as np

from brain_tumor_tl.data.splits.groups import Indices
from brain_tumor_tl.data.splits.split import TEST, TRAIN, VAL, Split, check_not_empty, round_half_up


def random_split(
    labels: Indices, seed: int, test_fraction: float = 0.2, val_fraction: float = 0.0, stratify: bool = False
) -> Split:
    """Split images at random, as the study does.

    The order comes from NumPy's legacy generator, whose stream is frozen (NEP 19): a seed gives the same split on any
    machine and with any later NumPy.

    Args:
        labels: Label of each image, `(N,)`.
        seed: Seed of the order.
        test_fraction: Share of all images in the test split, rounded half up.
        val_fraction: Share of all images in the validation split, rounded half up.
        stratify: Give each split the same share of every class.

    Raises:
        ValueError: A split that was asked for would be empty.

    >>> split = random_split(np.zeros(3264, dtype=np.int64), seed=0)
    >>> len(split.train), len(split.test)
    (2611, 653)
    """
    count = len(labels)
    test, val = round_half_up(count * test_fraction), round_half_up(count * val_fraction)
    order = np.random.RandomState(seed).permutation(count)
    if stratify:
        order = order[spread_classes(labels[order])]
    codes = np.full(count, TRAIN, dtype=np.int64)
    codes[order[:test]], codes[order[test : test + val]] = TEST, VAL
    split = Split(codes)
    check_not_empty(split, val_fraction, count)
    return split


def spread_classes(labels: Indices) -> Indices:
    """Return an order whose every initial stretch holds the classes in their overall shares.

    The k-th of a class's n images gets the place (k + 1/2) / n between 0 and 1.

    Args:
        labels: Label of each image, `(N,)`.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable").astype(np.int64)
