"""Grouped: splits of whole groups, of sizes as close to those asked for as whole groups allow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.splits.groups import Indices, numbered
from brain_tumor_tl.data.splits.split import TEST, TRAIN, VAL, Split, check_not_empty, round_half_up

Chosen = NDArray[np.bool_]


def grouped_split(
    labels: Indices,
    groups: Indices,
    seed: int,
    test_fraction: float,
    val_fraction: float = 0,
    stratify: bool = False,
    every_class: bool = False,
) -> Split:
    """Split whole groups at random; equals `random_split` for groups of one image each without stratification.

    The order of groups comes from NumPy's legacy generator, whose stream is frozen (NEP 19). Groups are taken in
    that order while they fit into the rest of a split.

    Args:
        labels: Label of each image, `(N,)`.
        groups: Group of each image, `(N,)`.
        seed: Seed of the order.
        test_fraction: Target share of all images in the test split.
        val_fraction: Target share of all images in the validation split.
        stratify: Aim at the same share of every class in each split.
        every_class: With `stratify`, give each split a group of each class even if the group is far larger than the
            split's share.

    Raises:
        ValueError: A split that was asked for would be empty.
    """
    groups = numbered(groups)
    counts = group_counts(labels, groups, stratify)
    order = np.random.RandomState(seed).permutation(len(counts))
    test = pick_groups(counts, targets(counts, test_fraction), order, every_class)
    val = pick_groups(counts, targets(counts, val_fraction), order[~test[order]], every_class and val_fraction > 0)
    return split_of_groups(test, val, groups, val_fraction)


def split_of_groups(test: Chosen, val: Chosen, groups: Indices, val_fraction: float) -> Split:
    """Return the split of images whose groups are chosen for testing or validation; the others are for training.

    Args:
        test: Whether each group is for testing, `(G,)`.
        val: Whether each group is for validation, `(G,)`.
        groups: Group of each image, 0 to G - 1, `(N,)`.
        val_fraction: As asked for; the validation split may be empty only if this is 0.

    Raises:
        ValueError: A split that was asked for would be empty.
    """
    split = Split(np.where(test, TEST, np.where(val, VAL, TRAIN))[groups])
    check_not_empty(split, val_fraction, len(test))
    return split


def group_counts(labels: Indices, groups: Indices, stratify: bool) -> Indices:
    """Return the number of images of each group, `(G, C)`: per class with `stratify`, else in one column.

    Args:
        labels: Label of each image, `(N,)`.
        groups: Group of each image, 0 to G - 1, `(N,)`.
        stratify: Whether to count each class separately.
    """
    columns = numbered(labels) if stratify else np.zeros(len(labels), dtype=np.int64)
    counts = np.zeros((int(groups.max(initial=-1)) + 1, int(columns.max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(counts, (groups, columns), 1)
    return counts


def targets(counts: Indices, fraction: float) -> Indices:
    """Return the target number of images of each column, `(C,)`; their sum is the share of all, rounded half up.

    What rounding down leaves over goes to the columns with the largest remainders, the first ones first.

    Args:
        counts: Images of each group, `(G, C)`.
        fraction: The split's share of all images.

    >>> targets(np.array([[5, 0], [0, 5], [0, 5]]), 0.3).tolist()
    [2, 3]
    """
    exact = counts.sum(axis=0) * fraction
    whole: Indices = np.floor(exact + 1e-9).astype(np.int64)
    rest = round_half_up(float(exact.sum())) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return whole


def pick_groups(counts: Indices, target: Indices, order: Indices, every_column: bool = False) -> Chosen:
    """Choose groups whose counts come close to a target: in order while they fit, then whichever come closest.

    At the end no single further group would come closer.

    Args:
        counts: Images of each group, `(G, C)`.
        target: Target number of images, `(C,)`.
        order: The groups that may be chosen, in the order in which they are tried.
        every_column: Choose a group of each column that has several, even if that leads away from the target.

    Returns:
        Whether each group is chosen, `(G,)`.
    """
    chosen = np.zeros(len(counts), dtype=bool)
    left = target.copy()
    for group in order.tolist():
        if not left.any():
            break
        if (counts[group] <= left).all():
            chosen[group] = True
            left -= counts[group]
    while len(rest := order[~chosen[order]]):
        gain = np.abs(left).sum() - np.abs(left - counts[rest]).sum(axis=1)
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        chosen[rest[best]] = True
        left -= counts[rest[best]]
    for column in np.flatnonzero(counts[chosen].sum(axis=0) == 0) if every_column else ():
        rest = order[~chosen[order] & (counts[order, column] > 0)]
        if len(rest) > 1:  # the last one is left to train on
            best = rest[np.abs(left - counts[rest]).sum(axis=1).argmin()]
            chosen[best] = True
            left -= counts[best]
    return chosen
