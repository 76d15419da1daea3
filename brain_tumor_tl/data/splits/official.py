"""Official: the data set's own Training and Testing folders, as they are or without the test images that leak."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.splits.grouped import group_counts, pick_groups, targets
from brain_tumor_tl.data.splits.groups import Indices, numbered
from brain_tumor_tl.data.splits.split import LEFT_OUT, TEST, TRAIN, VAL, Split, check_not_empty, round_half_up


def official_split(
    labels: Indices, groups: Indices, official: list[str], seed: int, val_fraction: float, stratify: bool, clean: bool
) -> Split:
    """Split by the data set's own folders.

    The validation split is the set's own validation folder if it has one, else whole groups from Training.

    Args:
        labels: Label of each image, `(N,)`.
        groups: Group of each image, `(N,)`.
        official: Official split of each image: "train", "val", "test" or "".
        seed: Seed of a validation split from Training.
        val_fraction: Share of all images in a validation split from Training.
        stratify: Whether a validation split from Training aims at the same share of every class.
        clean: Leave out test images that share a group with a training or validation image.

    Raises:
        ValueError: The set has no such folders, has a validation folder that was not asked for, or a split would be
            empty.
    """
    check_folders(official, val_fraction)
    names = np.array(official, dtype=object)
    test, val = names == "test", names == "val"
    leaked = test & np.isin(groups, groups[~test]) & clean
    if val_fraction > 0 and not val.any():
        val = validation_from_training(names == "train", labels, groups, seed, val_fraction, stratify)
    split = Split(np.select([leaked, test, val], [LEFT_OUT, TEST, VAL], TRAIN))
    if not len(split.test):
        raise ValueError(
            f"Expected test images without a copy in Training, got none: all {int(test.sum())} have one. "
            "data.split=grouped makes a test split of its own."
        )
    check_not_empty(split, val_fraction, len(np.unique(groups)))
    return split


def check_folders(official: list[str], val_fraction: float) -> None:
    """Raise a ValueError if the data set's folders don't make the splits that are asked for."""
    missing = [folder for name, folder in (("train", "Training"), ("test", "Testing")) if name not in official]
    if missing:
        raise ValueError(
            f"Expected images in Training/ and Testing/ (or train/ and test/) for an official split, found none in "
            f"{' and '.join(missing)}. data.split=grouped needs no such folders."
        )
    count = official.count("val")
    if count and val_fraction == 0:
        raise ValueError(
            f"The set has a validation folder of its own with {count} images. Give any data.val_fraction above 0 to "
            "use that folder as the validation split."
        )


def validation_from_training(
    train: NDArray[np.bool_], labels: Indices, groups: Indices, seed: int, val_fraction: float, stratify: bool
) -> NDArray[np.bool_]:
    """Return whether each image is in a validation split of whole groups of training images, `(N,)`."""
    inside = numbered(groups[train])
    counts = group_counts(labels[train], inside, stratify)
    share = round_half_up(len(labels) * val_fraction) / len(inside)
    order = np.random.RandomState(seed).permutation(len(counts))
    val = np.zeros(len(labels), dtype=bool)
    val[train] = pick_groups(counts, targets(counts, share), order)[inside]
    return val
