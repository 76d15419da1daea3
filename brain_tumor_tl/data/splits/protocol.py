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
from brain_tumor_tl.data.splits.split import LEFT_OUT, TRAIN, Split

TITLES = {
    "random": "random split of single images",
    "grouped": "random split of whole groups",
    "series": "random split of whole groups and series of file numbers",
    "patients": "random split of whole patients{unknown}",
    "official": "split by the set's own folders",
    "official_clean": "split by the set's own folders, less test images with a copy in Training",
    "kfold": "k-fold split of {whole}{unknown}, fold {fold} of {folds} counted from 0",
}
SPLITS = tuple(TITLES)
FOLDS_BY = {
    "random": "single images", "grouped": "whole groups", "series": "whole series", "patients": "whole patients",
}  # fmt: skip
UNKNOWN_PATIENTS = {
    "group": ", unknown ones by copies and series",
    "train_only": ", unknown ones for training alone",
    "drop": ", without images of unknown ones",
}


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
        unknown_patients: What a split by patients does with images of unknown patients, one of `UNKNOWN_PATIENTS`.

    Raises:
        ValueError: A value is not one of its choices.
    """

    split: str = "random"
    test_fraction: float = 0.2
    val_fraction: float = 0.0
    stratify: bool = False
    fold: int = 0
    folds: int = 5
    fold_by: str = "grouped"
    drop_conflicts: bool = False
    unknown_patients: str = "group"

    def __post_init__(self) -> None:
        for key, choices in (("split", SPLITS), ("fold_by", FOLDS_BY), ("unknown_patients", UNKNOWN_PATIENTS)):
            if (value := getattr(self, key)) not in choices:
                raise ValueError(f"Expected `data.{key}` to be one of {', '.join(choices)}, got {value!r}.")

    @property
    def by(self) -> str:
        """What stays together, one of `FOLDS_BY`; `Relations.groups` says what each of them means."""
        if self.split == "kfold":
            return self.fold_by
        if self.split == "official" and self.val_fraction == 0:
            return "random"  # the folders alone decide
        return self.split if self.split in FOLDS_BY else "grouped"

    @property
    def needs_copies(self) -> bool:
        """Whether the split depends on which images are copies of each other."""
        return self.by != "random" or self.drop_conflicts

    @property
    def stratified(self) -> bool:
        """Whether each split aims at the same share of every class; patients are too few to leave that to chance."""
        return self.stratify or self.by == "patients"

    def title(self) -> str:
        """Return the split in words.

        >>> Protocol("kfold", fold=1, fold_by="series").title()
        'k-fold split of whole series, fold 1 of 5 counted from 0'
        """
        unknown = UNKNOWN_PATIENTS[self.unknown_patients] if self.by == "patients" else ""
        whole = FOLDS_BY[self.fold_by]
        return TITLES[self.split].format(whole=whole, unknown=unknown, fold=self.fold, folds=self.folds)


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
    labels, groups, usable = index.labels, relations.groups(protocol.by), np.ones(len(index), dtype=bool)
    if protocol.drop_conflicts:
        copies = relations.require_copies()
        usable = ~np.isin(copies, groups_with_several(copies, labels))
    divided = usable
    if protocol.by == "patients" and protocol.unknown_patients != "group":
        assert relations.patients is not None, "their groups could not be known"
        divided = usable & (relations.patients >= 0)
    kept = np.flatnonzero(divided)
    codes = np.full(len(index), LEFT_OUT, dtype=np.int64)
    codes[kept] = split_of(protocol, labels[kept], groups[kept], [index.official[i] for i in kept], seed).codes
    if protocol.by == "patients" and protocol.unknown_patients == "train_only":
        codes[usable & ~divided & ~np.isin(groups, groups[codes > TRAIN])] = TRAIN
    split = Split(codes)
    if protocol.by == "patients":
        check_whole_patients(protocol, split, index, groups, kept)
    missing = index.missing_classes(split.train)
    if missing:
        raise ValueError(
            f"Expected training images of every class, a {protocol.title()} leaves none of {', '.join(missing)}. Give "
            "data.stratify=true, a smaller data.test_fraction or another seed, or list only the classes that you have "
            "in data.classes."
        )
    return split


def check_whole_patients(protocol: Protocol, split: Split, index: Index, groups: Indices, kept: Indices) -> None:
    """Raise a ValueError if the patients of a class can't fill all splits.

    Args:
        protocol: How the images were split.
        split: The result.
        index: The images.
        groups: Which of them stay together, `(N,)`.
        kept: Positions of the images that were divided.
    """
    faults = []
    for label, name in enumerate(index.classes):
        own = kept[index.labels[kept] == label]
        images = f"{name}: {len(own)} image(s) of {len(np.unique(groups[own]))} patient(s) or group(s)"
        if not len(own) and protocol.unknown_patients == "drop":
            faults.append(f"{images} left, since no patient of this class is known")
        elif len(own) and protocol.split == "kfold" and len(np.unique(groups[own])) < 2:
            faults.append(f"{images}, so the fold that tests them trains on none")
        elif len(own) and protocol.split != "kfold":
            splits = {"training": split.train, "validation": split.val, "test": split.test}
            wanted = [part for part in splits if part != "validation" or protocol.val_fraction > 0]
            without = [part for part in wanted if name in index.missing_classes(splits[part])]
            faults += [f"{images}, none for {' and '.join(without)}"] if without else []
    if faults:
        raise ValueError(
            f"Expected images of every class in every split, a {protocol.title()} forbids it: {'; '.join(faults)}."
            " Give other fractions, data.unknown_patients=group or data.split=series, or list only classes of several "
            "patients in data.classes."
        )


def split_of(protocol: Protocol, labels: Indices, groups: Indices, official: list[str], seed: int) -> Split:
    """Return a protocol's split of images that are all used."""
    val, stratify = protocol.val_fraction, protocol.stratified
    match protocol.split:
        case "random":
            return random_split(labels, seed, protocol.test_fraction, val, stratify)
        case "grouped" | "series" | "patients":
            every_class = protocol.split == "patients"
            return grouped_split(labels, groups, seed, protocol.test_fraction, val, stratify, every_class)
        case "official" | "official_clean":
            clean = protocol.split == "official_clean"
            return official_split(labels, groups, official, seed, val, stratify, clean)
        case _:
            return fold_split(labels, groups, seed, protocol.fold, protocol.folds, val, stratify)


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
    """Return how many test images share a group with a training image; None if the groups are not known.

    Args:
        split: The split.
        groups: Group of each image, `(N,)`; images with a negative number are in none.
    """
    if groups is None:
        return None
    test = groups[split.test]
    return int((np.isin(test, groups[split.train]) & (test >= 0)).sum())


def count_divided(split: Split, groups: Indices | None) -> int | None:
    """Return how many groups are in more than one split, with `groups` as above; None if they are not known."""
    return None if groups is None else len(groups_with_several(groups, np.where(groups < 0, -1, split.codes)))


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
    folded, patients = protocol.split == "kfold", relations.patients
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
        "patients_in_training": count_leaked(split, relations.patients),
        "known_patients": None if patients is None else int((patients[split.test] >= 0).sum()),
        "images_without_patient": None if patients is None else int(((patients < 0) & (split.codes >= 0)).sum()),
        "identical_in_training": count_leaked(split, relations.identical),
        "copies_in_training": count_leaked(split, relations.copies),
        "copies_searched": copies_searched(relations),
    }


def copies_searched(relations: Relations) -> str | None:
    """Return which copies the counts of a split are of; None if none were searched for."""
    if relations.copies is not None:
        return "identical pixels and near copies"
    return None if relations.identical is None else "identical pixels only; near copies not searched"
