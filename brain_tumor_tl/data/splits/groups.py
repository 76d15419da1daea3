"""Groups: which images must stay together, as one number for each image. Pure functions of such numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def numbered(groups: Indices) -> Indices:
    """Return the same groups numbered 0, 1, 2 ... in the order of their first members.

    What is drawn from such numbers depends on who stands with whom alone, not on how that was found.

    Args:
        groups: Any number for each image, `(N,)`; images with the same number are a group.

    >>> numbered(np.array([7, 3, 7, 9])).tolist()
    [0, 1, 0, 2]
    """
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


def joined(count: int, *relations: Indices) -> Indices:
    """Return the finest groups in which whoever stands together in any of the relations stands together.

    Args:
        count: Number of images N.
        *relations: Groups, `(N,)` each.

    Raises:
        ValueError: A relation has not one number for each image.

    >>> joined(4, np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])).tolist()
    [0, 0, 0, 1]
    """
    parent = list(range(count))
    for groups in relations:
        if len(groups) != count:
            raise ValueError(f"Expected a group for each of {count} images, got {len(groups)}.")
        firsts: dict[int, int] = {}
        for position, group in enumerate(groups.tolist()):
            union(parent, firsts.setdefault(group, position), position)
    return numbered(np.array([root_of(parent, i) for i in range(count)], dtype=np.int64))


def union(parent: list[int], one: int, other: int) -> None:
    """Join the trees of two images; the lower number becomes the root."""
    low, high = sorted((root_of(parent, one), root_of(parent, other)))
    parent[high] = low


def root_of(parent: list[int], member: int) -> int:
    """Return the root of an image's tree, and halve the way to it."""
    while parent[member] != member:
        parent[member] = parent[parent[member]]
        member = parent[member]
    return member


def alone(count: int) -> Indices:
    """Return groups of one image each, `(count,)`."""
    return np.arange(count, dtype=np.int64)


def named_groups(names: Sequence[str]) -> Indices:
    """Return the groups of images with the same name, such as a patient's; an empty name stands alone.

    >>> named_groups(["p1", "", "p1", ""]).tolist()
    [0, 1, 0, 2]
    """
    numbers: dict[str, int] = {}
    groups = [numbers.setdefault(name, len(numbers)) if name else -1 - i for i, name in enumerate(names)]
    return numbered(np.array(groups, dtype=np.int64))


def on_several_sides(groups: Indices, sides: Indices) -> Indices:
    """Return the numbers of the groups that have members on more than one side.

    Args:
        groups: Group of each image, `(N,)`.
        sides: Side of each image, `(N,)`; negative for images that are on none.

    >>> on_several_sides(np.array([5, 5, 6, 6, 6]), np.array([0, 1, 2, 2, -1])).tolist()
    [5]
    """
    used = sides >= 0
    pairs = np.unique(np.stack([groups[used], sides[used]], axis=1), axis=0)
    found, count = np.unique(pairs[:, 0], return_counts=True)
    return found[count > 1]


def with_two_labels(groups: Indices, labels: Indices) -> Indices:
    """Return the positions of the images whose group holds more than one label, ascending.

    Args:
        groups: Group of each image, `(N,)`.
        labels: Label of each image, `(N,)`.
    """
    return np.flatnonzero(np.isin(groups, on_several_sides(groups, labels)))
