"""Protocol: how the images are split, and what the test images still have in common with the training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.leakage.relations import Relations
from brain_tumor_tl.data.splits.folds import fold_split
from brain_tumor_tl.data.splits.grouped import grouped_split
from brain_tumor_tl.data.splits.groups import Indices, groups_with_several
from brain_tumor_tl.data.splits.official import official_split
from brain_tumor_tl.data.splits.random import random_split
from brain_tumor_tl.data.splits.split import LEFT_OUT, Split

TITLES = {
    "random": "random split of single images",
    "grouped": "random split of whole groups",
    "series": "random split of whole groups and series of file numbers",
    "official": "split by the set's own folders",
    "official_clean": "split by the set's own folders, less test images with a copy in Training",
    "kfold": "k-fold split of {whole}, fold {fold} of {folds} counted from 0",
}
SPLITS = tuple(TITLES)
FOLDS_BY = {"random": "single images", "grouped": "whole groups", "series": "whole series"}


@dataclass(frozen=True)
class Protocol:
    """How images are split.

    Attributes:
        split: One of `SPLITS`.
        test_fraction: Share of the test split; the official splits and k-fold ignore it.
        val_fraction: Share of the validation split; 0 for none.
        stratify: Whether each split aims at the same share of every class.
        fold: Which fold is the test split, counted from 0.
        folds: Number of folds.
        fold_by: What stays together in a fold, one of `FOLDS_BY`.
        drop_conflicts: Whether copies with different labels are left out.
    """

    split: str = "random"
    test_fraction: float = 0.2
    val_fraction: float = 0.0
    stratify: bool = False
    fold: int = 0
    folds: int = 5
    fold_by: str = "grouped"
    drop_conflicts: bool = False

    @property
    def by(self) -> str:
        """What stays together: "random" nothing, "grouped" copies and patients, "series" those and series."""
        if self.split == "kfold":
            return self.fold_by
        if self.split == "official" and self.val_fraction == 0:
            return "random"  # the folders alone decide
        return self.split if self.split in FOLDS_BY else "grouped"

    @property
    def needs_copies(self) -> bool:
        """Whether the split depends on which images are copies of each other."""
        return self.by != "random" or self.drop_conflicts

    def title(self) -> str:
        """Return the split in words.

        >>> Protocol("kfold", fold=1, fold_by="series").title()
        'k-fold split of whole series, fold 1 of 5 counted from 0'
        """
        return TITLES[self.split].format(whole=FOLDS_BY[self.fold_by], fold=self.fold, folds=self.folds)


def divide(protocol: Protocol, index: Index, relations: Relations, seed: int) -> Split:
    """Split images as a protocol says.

    Args:
        protocol: How to split.
        index: The images, their labels and official splits.
        relations: Which images have more in common than a class.
        seed: Seed of all random draws.

    Raises:
        ValueError: The images don't allow it, or a class would have no training image.
    """
    labels, groups, kept = index.labels, relations.groups(protocol.by), np.arange(len(index))
    if protocol.drop_conflicts:
        copies = relations.require_copies()
        kept = np.flatnonzero(~np.isin(copies, groups_with_several(copies, labels)))
    codes = np.full(len(index), LEFT_OUT, dtype=np.int64)
    codes[kept] = split_of(protocol, labels[kept], groups[kept], [index.official[i] for i in kept], seed).codes
    split = Split(codes)
    missing = index.missing_classes(split.train)
    if missing:
        raise ValueError(
            f"Expected training images of every class, a {protocol.title()} leaves none of {', '.join(missing)}. Give "
            "data.stratify=true, a smaller data.test_fraction or another seed, or list only the classes that you have "
            "in data.classes."
        )
    return split


def split_of(protocol: Protocol, labels: Indices, groups: Indices, official: list[str], seed: int) -> Split:
    """Return a protocol's split of images that are all used."""
    val, stratify = protocol.val_fraction, protocol.stratify
    match protocol.split:
        case "random":
            return random_split(labels, seed, protocol.test_fraction, val, stratify)
        case "grouped" | "series":
            return grouped_split(labels, groups, seed, protocol.test_fraction, val, stratify)
        case "official" | "official_clean":
            clean = protocol.split == "official_clean"
            return official_split(labels, groups, official, seed, val, stratify, clean)
        case "kfold":
            return fold_split(labels, groups, seed, protocol.fold, protocol.folds, val, stratify)
    raise ValueError(f"Expected `data.split` to be one of {', '.join(SPLITS)}, got {protocol.split!r}.")


def shuffled(labels: Indices, split: Split, seed: int) -> Indices:
    """Return the labels with those of the training images permuted among themselves, `(N,)`; a control.

    Args:
        labels: Label of each image, `(N,)`.
        split: Its training images are permuted.
        seed: Seed of the permutation.
    """
    result = labels.copy()
    result[split.train] = labels[np.random.RandomState([seed, len(labels)]).permutation(split.train)]
    return result


def count_leaked(split: Split, groups: Indices | None) -> int | None:
    """Return how many test images share a group with a training image; None if the groups are not known."""
    return None if groups is None else int(np.isin(groups[split.test], groups[split.train]).sum())


def count_divided(split: Split, groups: Indices | None) -> int | None:
    """Return how many groups are in more than one split; None if the groups are not known."""
    return None if groups is None else len(groups_with_several(groups, split.codes))


def describe_split(protocol: Protocol, split: Split, index: Index, relations: Relations) -> dict[str, Any]:
    """Return what a reader of the results must know about a split, as JSON values; null if not computed.

    Args:
        protocol: How the images were split.
        split: The result.
        index: The images.
        relations: Which of them have more in common than a class.
    """
    splits = {"train": split.train, "val": split.val, "test": split.test}
    missing = {name: index.missing_classes(images) for name, images in splits.items() if len(images)}
    folded = protocol.split == "kfold"
    return {
        "split": protocol.split,
        "title": protocol.title(),
        **{key: getattr(protocol, key) if folded else None for key in ("fold", "folds", "fold_by")},
        "drop_conflicts": protocol.drop_conflicts,
        "test_images": len(split.test),
        "left_out": len(split.left_out),
        "missing_classes": {name: classes for name, classes in missing.items() if classes},
        "groups_in_several_splits": count_divided(split, relations.copies),
        "patients_in_several_splits": count_divided(split, relations.patients),
        "identical_in_training": count_leaked(split, relations.identical),
        "copies_in_training": count_leaked(split, relations.copies),
    }
