"""Protocol: how test images are set apart from those that are learned from, and what that leaves in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.leakage.relations import Relations
from brain_tumor_tl.data.splits.folds import fold_split
from brain_tumor_tl.data.splits.grouped import grouped_split
from brain_tumor_tl.data.splits.groups import Indices, on_several_sides, with_two_labels
from brain_tumor_tl.data.splits.official import official_split
from brain_tumor_tl.data.splits.random import Split, random_split

SPLITS = ("random", "grouped", "runs", "official", "official_clean", "kfold")
FOLDS_BY = ("random", "grouped", "runs")


@dataclass(frozen=True)
class Protocol:
    """How images are split.

    Attributes:
        split: One of `SPLITS`.
        test_fraction: Share of the test part; the official splits and k-fold have their own.
        val_fraction: Share of the validation part; 0 for none.
        stratify: Whether each part aims at the same share of every class.
        fold: Which fold is the test part, counted from 0.
        folds: Number of folds.
        fold_by: What stays together in a fold, one of `FOLDS_BY`.
        drop_conflicts: Whether pictures that stand under two labels are left out.
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
        """What stays together: "random" for nothing, "grouped" for copies and patients, "runs" for these and runs."""
        if self.split == "kfold":
            return self.fold_by
        if self.split == "official" and self.val_fraction == 0:
            return "random"  # the folders alone decide
        return self.split if self.split in FOLDS_BY else "grouped"

    @property
    def needs_copies(self) -> bool:
        """Whether the split itself depends on which images are copies of each other."""
        return self.by != "random" or self.drop_conflicts

    def title(self) -> str:
        """Return the split in words.

        >>> Protocol("kfold", fold=1, fold_by="runs").title()
        'k-fold split of whole runs, fold 1 of 5 counted from 0'
        """
        if self.split == "kfold":
            whole = {"random": "single images", "grouped": "whole groups", "runs": "whole runs"}[self.fold_by]
            return f"k-fold split of {whole}, fold {self.fold} of {self.folds} counted from 0"
        return {
            "random": "random split of single images",
            "grouped": "random split of whole groups",
            "runs": "random split of whole groups and runs of file numbers",
            "official": "split by the set's own folders",
            "official_clean": "split by the set's own folders, less test images with a copy in Training",
        }[self.split]


def divide(protocol: Protocol, index: Index, relations: Relations, seed: int) -> Split:
    """Split images as a protocol says.

    Args:
        protocol: How.
        index: The images, their labels and official parts.
        relations: Which images have more in common than a class.
        seed: Seed of all that is drawn.

    Raises:
        ValueError: The images don't allow it, or leave a class out of the training part.
    """
    labels, groups = index.labels, relations.groups(protocol.by)
    kept = np.arange(len(labels))
    if protocol.drop_conflicts:
        kept = np.setdiff1d(kept, with_two_labels(relations.copies_or_refuse(), labels))
    parts = [index.parts[position] for position in kept.tolist()]
    split = split_of(protocol, labels[kept], groups[kept], parts, seed).among(kept, len(labels))
    refuse_untrained_classes(split, index, protocol)
    return split


def split_of(protocol: Protocol, labels: Indices, groups: Indices, parts: Sequence[str], seed: int) -> Split:
    """Return a protocol's split of images that are all to be used."""
    val, strata = protocol.val_fraction, protocol.stratify
    match protocol.split:
        case "random":
            return random_split(labels, seed, protocol.test_fraction, val, strata)
        case "grouped" | "runs":
            return grouped_split(labels, groups, seed, protocol.test_fraction, val, strata)
        case "official" | "official_clean":
            clean = protocol.split == "official_clean"
            return official_split(labels, groups, parts, seed, val, strata, clean)
        case "kfold":
            return fold_split(labels, groups, seed, protocol.fold, protocol.folds, val, strata)
    raise ValueError(f"Expected `data.split` to be one of {', '.join(SPLITS)}, got {protocol.split!r}.")


def absent_classes(index: Index, part: Indices) -> list[str]:
    """Return the names of the classes that a part has no image of."""
    counts = np.bincount(index.labels[part], minlength=len(index.classes))
    return [name for name, count in zip(index.classes, counts.tolist(), strict=True) if count == 0]


def refuse_untrained_classes(split: Split, index: Index, protocol: Protocol) -> None:
    """Raise a ValueError where the training part has no image of a class."""
    absent = absent_classes(index, split.train)
    if absent:
        raise ValueError(
            f"Expected images of every class in the training part, a {protocol.title()} leaves none of "
            f"{', '.join(absent)}. Give data.stratify=true, a smaller data.test_fraction or another seed, or list "
            "only the classes that you have in data.classes."
        )


def shuffled(labels: Indices, split: Split, seed: int) -> Indices:
    """Return labels of which those of the training part are permuted among themselves; a control, `(N,)`.

    Args:
        labels: Label of each image, `(N,)`.
        split: Whose training part to permute.
        seed: Seed of the permutation.
    """
    result = labels.copy()
    result[split.train] = labels[np.random.RandomState([seed, len(labels)]).permutation(split.train)]
    return result


def shared(split: Split, groups: Indices | None) -> int | None:
    """Return how many test images have a member of their group in the training part, None where nobody looked."""
    if groups is None:
        return None
    return int(np.isin(groups[split.test], groups[split.train]).sum())


def straddling(split: Split, groups: Indices | None) -> int | None:
    """Return how many groups are in more than one part, None where nobody looked."""
    return None if groups is None else len(on_several_sides(groups, split.sides()))


def facts(protocol: Protocol, split: Split, index: Index, relations: Relations) -> dict[str, Any]:
    """Return what a reader of the figures has to know of a split, as JSON values; null where nobody looked.

    Args:
        protocol: How images were split.
        split: What came of it.
        index: The images.
        relations: Which of them have more in common than a class.
    """
    parts = ("train", "val", "test") if len(split.val) else ("train", "test")
    missing = {part: absent_classes(index, getattr(split, part)) for part in parts}
    folded = protocol.split == "kfold"
    return {
        "split": protocol.split,
        "title": protocol.title(),
        "fold": protocol.fold if folded else None,
        "folds": protocol.folds if folded else None,
        "fold_by": protocol.fold_by if folded else None,
        "drop_conflicts": protocol.drop_conflicts,
        "test_images": len(split.test),
        "left_out": len(split.left_out),
        "missing_classes": {part: names for part, names in missing.items() if names},
        "groups_on_two_sides": straddling(split, relations.copies),
        "patients_on_two_sides": straddling(split, relations.patients),
        "identical_in_training": shared(split, relations.identical),
        "copies_in_training": shared(split, relations.copies),
    }
