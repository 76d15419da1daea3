"""Groups: which images must stay together, as one number for each image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def numbered(groups: Indices) -> Indices:
    """Return the same groups numbered 0, 1, 2 ... in the order of their first members.

    Random draws from such numbers depend only on which images are together, not on how the groups were found.

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
    """Return the smallest groups that keep together all images that are together in any of the relations.

    Args:
        count: Number of images N.
        *relations: Groups, `(N,)` each.

    Raises:
        ValueError: A relation does not have one number for each image.

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
    """Return the root of an image's tree, halving the path to it."""
    while parent[member] != member:
        parent[member] = parent[parent[member]]
        member = parent[member]
    return member


def singletons(count: int) -> Indices:
    """Return groups of one image each, `(count,)`."""
    return np.arange(count, dtype=np.int64)


def numbers_of(names: Sequence[str]) -> Indices:
    """Return the number of each name, such as a patient's, `(N,)`; -1 for an empty name.

    >>> numbers_of(["p1", "", "p1", "p0"]).tolist()
    [0, -1, 0, 1]
    """
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) if name else -1 for name in names], dtype=np.int64)


def groups_of(numbers: Indices) -> Indices:
    """Return the groups of images with the same number, `(N,)`; an image with a negative number is alone.

    >>> groups_of(np.array([0, -1, 0, -1])).tolist()
    [0, 1, 0, 2]
    """
    return numbered(np.where(numbers < 0, -1 - np.arange(len(numbers)), numbers))


def named_groups(names: Sequence[str]) -> Indices:
    """Return the groups of images with the same name; an image with an empty name is alone.

    >>> named_groups(["p1", "", "p1", ""]).tolist()
    [0, 1, 0, 2]
    """
    return groups_of(numbers_of(names))


def groups_with_several(groups: Indices, values: Indices) -> Indices:
    """Return the numbers of the groups whose members have more than one value, such as a split or a label.

    Args:
        groups: Group of each image, `(N,)`.
        values: Value of each image, `(N,)`; images with a negative value don't count.

    >>> groups_with_several(np.array([5, 5, 6, 6, 6]), np.array([0, 1, 2, 2, -1])).tolist()
    [5]
    """
    used = values >= 0
    pairs = np.unique(np.stack([groups[used], values[used]], axis=1), axis=0)
    found, count = np.unique(pairs[:, 0], return_counts=True)
    return found[count > 1]
