"""Grouped: parts that no group straddles, of sizes as near to those asked for as whole groups allow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.splits.groups import numbered
from brain_tumor_tl.data.splits.random import Indices, Split, round_half_up

Chosen = NDArray[np.bool_]


def grouped_split(
    labels: Indices,
    groups: Indices,
    seed: int,
    test_fraction: float = 0.2,
    val_fraction: float = 0.0,
    stratify: bool = False,
) -> Split:
    """Split whole groups at random; with groups of one image each, and without strata, as `random_split` does.

    The order of groups comes from NumPy's legacy generator, whose stream is frozen (NEP 19). Groups are taken in
    that order while they fit into what is left of a part.

    Args:
        labels: Label of each image, `(N,)`.
        groups: Group of each image, `(N,)`.
        seed: Seed of the order.
        test_fraction: Share of all images that the test part aims at.
        val_fraction: Share of all images that the validation part aims at.
        stratify: Aim at the same share of every class in each part.

    Raises:
        ValueError: A part that was asked for would be empty.
    """
    groups = numbered(groups)
    counts = group_counts(labels, groups, stratify)
    order = np.random.RandomState(seed).permutation(len(counts))
    test = pick_groups(counts, targets(counts, test_fraction), order)
    left = order[~test[order]]
    val = pick_groups(counts, targets(counts, val_fraction), left)
    sides = np.where(test, 2, np.where(val, 1, 0))[groups]
    split = Split(*(np.flatnonzero(sides == side) for side in range(3)))
    refuse_empty(split, val_fraction, int(groups.max()) + 1 if len(groups) else 0)
    return split


def refuse_empty(split: Split, val_fraction: float, count: int) -> None:
    """Raise a ValueError where a part that was asked for has no images."""
    wanted = ("train", "test") if val_fraction == 0 else ("train", "val", "test")
    empty = [part for part in wanted if not len(getattr(split, part))]
    if empty:
        raise ValueError(
            f"Expected images in every part, got none for {' and '.join(empty)}: images that must stay together make "
            f"{count} group(s). Change data.test_fraction, data.val_fraction or data.folds, or add images."
        )


def group_counts(labels: Indices, groups: Indices, stratify: bool) -> Indices:
    """Return how many images each group holds, `(G, C)`: of each class with `stratify`, else `(G, 1)`.

    Args:
        labels: Label of each image, `(N,)`.
        groups: Group of each image, 0 to G - 1, `(N,)`.
        stratify: Whether to count classes apart.
    """
    kinds = numbered(labels) if stratify else np.zeros(len(labels), dtype=np.int64)
    shape = (int(groups.max(initial=-1)) + 1, int(kinds.max(initial=-1)) + 1)
    counts = np.zeros(shape, dtype=np.int64)
    np.add.at(counts, (groups, kinds), 1)
    return counts


def targets(counts: Indices, fraction: float) -> Indices:
    """Return how many images of each column a part aims at, `(C,)`: together the share of all, rounded half up.

    What whole numbers leave over goes to the columns with the largest remainders, the first ones first.

    Args:
        counts: Images of each group, `(G, C)`.
        fraction: The part's share of all images.

    >>> targets(np.array([[5, 0], [0, 5], [0, 5]]), 0.3).tolist()
    [2, 3]
    """
    exact = counts.sum(axis=0) * fraction
    whole: Indices = np.floor(exact + 1e-9).astype(np.int64)
    over = round_half_up(float(exact.sum())) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:over]] += 1
    return whole


def pick_groups(counts: Indices, target: Indices, order: Indices) -> Chosen:
    """Choose groups whose counts come near a target: in order while they fit, then whichever brings them nearest.

    At the end no single further group would come nearer.

    Args:
        counts: Images of each group, `(G, C)`.
        target: Images aimed at, `(C,)`.
        order: The groups that may be chosen, in the order in which they are tried.

    Returns:
        Whether each group is chosen, `(G,)`.
    """
    chosen = np.zeros(len(counts), dtype=bool)
    left = target.copy()
    for group in order.tolist():
        if not left.any():
            return chosen
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
    return chosen
