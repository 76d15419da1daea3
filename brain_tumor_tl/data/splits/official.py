"""Official: the set's own Training and Testing folders as parts, as they are or less what leaks between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.splits.grouped import group_counts, pick_groups, refuse_empty, targets
from brain_tumor_tl.data.splits.groups import numbered
from brain_tumor_tl.data.splits.random import Indices, Split, round_half_up


def official_split(
    labels: Indices,
    groups: Indices,
    parts: Sequence[str],
    seed: int,
    val_fraction: float = 0.0,
    stratify: bool = False,
    clean: bool = False,
) -> Split:
    """Split by the set's own folders.

    A validation part comes from the set's own folder for it where there is one, else as whole groups from Training.

    Args:
        labels: Label of each image, `(N,)`.
        groups: Group of each image, `(N,)`.
        parts: Official part of each image: "train", "val", "test" or "".
        seed: Seed of the validation part.
        val_fraction: Share of all images in the validation part, where it comes from Training.
        stratify: Whether a validation part from Training aims at the same share of every class.
        clean: Leave out test images whose group has a member in the folders that are trained or monitored on.

    Raises:
        ValueError: The set has no such folders, has a validation folder that was not asked for, or a part would be
            empty.
    """
    names = np.array(parts, dtype=object)
    refuse_other_layouts(parts, val_fraction)
    test = names == "test"
    leaked = test & np.isin(groups, groups[~test]) if clean else np.zeros(len(test), dtype=bool)
    val = names == "val"
    if val_fraction > 0 and not val.any():
        val = validation_from(names == "train", labels, groups, seed, val_fraction, stratify)
    split = Split(
        np.flatnonzero(~test & ~val), np.flatnonzero(val), np.flatnonzero(test & ~leaked), np.flatnonzero(leaked)
    )
    if not len(split.test):
        raise ValueError(
            f"Expected test images without a copy in Training, got none: all {int(test.sum())} have one. "
            "data.split=grouped makes a test part of its own."
        )
    refuse_empty(split, val_fraction, len(np.unique(groups)))
    return split


def refuse_other_layouts(parts: Sequence[str], val_fraction: float) -> None:
    """Raise a ValueError where folders don't make the parts that are asked for."""
    absent = [folder for part, folder in (("train", "Training"), ("test", "Testing")) if part not in parts]
    if absent:
        raise ValueError(
            f"Expected images in Training/ and Testing/ (or train/ and test/) for an official split, found none in "
            f"{' and '.join(absent)}. data.split=grouped needs no such folders."
        )
    count = sum(part == "val" for part in parts)
    if count and val_fraction == 0:
        raise ValueError(
            f"The set has a validation folder of its own with {count} images. Give any data.val_fraction above 0, "
            "and that folder is the validation part."
        )


def validation_from(
    allowed: NDArray[np.bool_], labels: Indices, groups: Indices, seed: int, val_fraction: float, stratify: bool
) -> NDArray[np.bool_]:
    """Return whether each image is in a validation part of whole groups among the allowed images, `(N,)`."""
    positions = np.flatnonzero(allowed)
    inside = numbered(groups[positions])
    counts = group_counts(labels[positions], inside, stratify)
    wanted = round_half_up(len(labels) * val_fraction)
    order = np.random.RandomState(seed).permutation(len(counts))
    share = wanted / max(len(positions), 1)
    chosen = pick_groups(counts, targets(counts, share), order)
    val = np.zeros(len(labels), dtype=bool)
    val[positions[chosen[inside]]] = True
    return val
