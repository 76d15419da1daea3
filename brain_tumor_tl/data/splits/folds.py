"""Folds: k test splits that together hold every image once, each of whole groups."""

from __future__ import annotations

import numpy as np

from brain_tumor_tl.data.splits.grouped import group_counts, pick_groups, split_of_groups, targets
from brain_tumor_tl.data.splits.groups import Indices, numbered
from brain_tumor_tl.data.splits.split import Split

SCALE = 2**50  # keeps the weights of classes whole numbers, exact below 2**25 images of a class


def fold_split(
    labels: Indices, groups: Indices, seed: int, fold: int, folds: int, val_fraction: float = 0, stratify: bool = False
) -> Split:
    """Return one fold of a k-fold cross-validation: the fold's images are the test split.

    Args:
        labels: Label of each image, `(N,)`.
        groups: Group of each image, `(N,)`.
        seed: Seed of the folds, the same for all of them.
        fold: Which fold is the test split, counted from 0.
        folds: Number of folds.
        val_fraction: Target share of all images in the validation split, whole groups of the other folds.
        stratify: Aim at the same share of every class in each split.

    Raises:
        ValueError: There is no such fold, there are fewer groups than folds, or a split would be empty.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"Expected `data.fold` from 0 to {folds - 1} for data.folds={folds}, got {fold}.")
    groups = numbered(groups)
    counts = group_counts(labels, groups, stratify)
    test = assign_folds(counts, seed, folds) == fold
    order = np.random.RandomState([seed, fold]).permutation(len(counts))
    val = pick_groups(counts, targets(counts, val_fraction), order[~test[order]])
    return split_of_groups(test, val, groups, val_fraction)


def assign_folds(counts: Indices, seed: int, folds: int) -> Indices:
    """Return the fold of each group, `(G,)`.

    Groups are assigned from the largest to the smallest, in random order within a size. Each goes to the fold that
    has the least of its classes so far, then to the smallest: folds of single images differ by one image at most.

    Args:
        counts: Images of each group, `(G, C)`.
        seed: Seed of the order.
        folds: Number of folds.

    Raises:
        ValueError: There are fewer groups than folds.
    """
    if len(counts) < folds:
        raise ValueError(
            f"Expected at least data.folds={folds} groups of images that must stay together, got {len(counts)}. "
            "Lower data.folds, or add images."
        )
    order = np.random.RandomState(seed).permutation(len(counts))
    order = order[np.argsort(-counts.sum(axis=1)[order], kind="stable")]
    weights = SCALE // counts.sum(axis=0) ** 2  # whole numbers, so that a tie is one on any machine
    held = np.zeros((folds, counts.shape[1]), dtype=np.int64)
    fold_of = np.empty(len(counts), dtype=np.int64)
    for group in order.tolist():
        crowding = (held * (weights * counts[group])).sum(axis=1)
        fold_of[group] = fold = int(np.lexsort((held.sum(axis=1), crowding))[0])
        held[fold] += counts[group]
    return fold_of
