"""Split: which image is for training, validation and test. Pure functions of their arguments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.index import Index

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Positions of the images in each part, each in ascending order; every image is in one part or left out."""

    train: Indices
    val: Indices
    test: Indices
    left_out: Indices = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.train) + len(self.val) + len(self.test) + len(self.left_out)

    def part_names(self) -> list[str]:
        """Return the part of each image, `left_out` for none, in the order of the index."""
        names = np.array(["left_out", "train", "val", "test"], dtype=object)
        return [str(name) for name in names[self.sides() + 1]]

    def sides(self) -> Indices:
        """Return the part of each image as a number, `(N,)`: 0 train, 1 val, 2 test, -1 for none."""
        sides = np.full(len(self), -1, dtype=np.int64)
        for side, part in enumerate((self.train, self.val, self.test)):
            sides[part] = side
        return sides

    def among(self, positions: Indices, count: int) -> Split:
        """Return this split of some images of a larger set as one of the whole set, the others left out.

        Args:
            positions: Where the images stand in the larger set, ascending.
            count: Number of images in the larger set.
        """
        outside = np.setdiff1d(np.arange(count), positions)
        left_out = np.sort(np.concatenate([outside, positions[self.left_out]]))
        return Split(positions[self.train], positions[self.val], positions[self.test], left_out)


def random_split(
    labels: Indices, seed: int, test_fraction: float = 0.2, val_fraction: float = 0.0, stratify: bool = False
) -> Split:
    """Split images at random, as the study does.

    The order comes from NumPy's legacy generator, whose stream is frozen (NEP 19): the same seed gives the
    same split on any machine and with any later NumPy.

    Args:
        labels: Label of each image, `(N,)`.
        seed: Seed of the order.
        test_fraction: Share of all images that goes to the test part, rounded half up.
        val_fraction: Share of all images that goes to the validation part, rounded half up.
        stratify: Give each part the same share of every class.

    Raises:
        ValueError: A part that was asked for would be empty.

    >>> split = random_split(np.zeros(3264, dtype=np.int64), seed=0)
    >>> len(split.train), len(split.test)
    (2611, 653)
    """
    count = len(labels)
    sizes = {"test": round_half_up(count * test_fraction), "val": round_half_up(count * val_fraction)}
    left = count - sum(sizes.values())
    if left < 1 or sizes["test"] < 1 or (val_fraction > 0 and sizes["val"] < 1):
        raise ValueError(
            f"Expected images in every part, got {left} for training, {sizes['val']} for validation and "
            f"{sizes['test']} for the test out of {count}. "
            "Change data.test_fraction or data.val_fraction, or add images."
        )
    order = np.random.RandomState(seed).permutation(count)
    if stratify:
        order = order[spread_classes(labels[order])]
    test, val, train = np.split(order, [sizes["test"], sizes["test"] + sizes["val"]])
    return Split(np.sort(train), np.sort(val), np.sort(test))


def spread_classes(labels: Indices) -> Indices:
    """Return an order in which any stretch from the start holds the classes in their overall shares.

    The k-th of a class's n images gets the place (k + 1/2) / n between 0 and 1.

    Args:
        labels: Label of each image, `(N,)`.
    """
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable").astype(np.int64)


def round_half_up(value: float) -> int:
    """Round to the nearest whole number, halves upward.

    >>> [round_half_up(x) for x in (652.8, 0.5, 1.5, 2.4)]
    [653, 1, 2, 2]
    """
    return int(np.floor(value + 0.5))


def part_rows(index: Index, parts: Iterable[str], **groups: Indices | None) -> list[dict[str, str | int]]:
    """Return the rows of `split.csv`: path, label, class and part of each image, and its groups.

    Args:
        index: The images.
        parts: Part of each.
        **groups: Columns of group numbers, `(N,)` each; None for one that isn't known.
    """
    rows: list[dict[str, str | int]] = []
    known = {name: numbers.tolist() for name, numbers in groups.items() if numbers is not None}
    for position, (path, label, part) in enumerate(zip(index.paths, index.labels, parts, strict=True)):
        row: dict[str, str | int] = {
            "path": path,
            "label": int(label),
            "class": index.classes[int(label)],
            "part": part,
        }
        rows.append(row | {name: numbers[position] for name, numbers in known.items()})
    return rows
