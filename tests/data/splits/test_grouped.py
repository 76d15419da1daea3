"""Grouped: no group in two splits, sizes as close as groups allow, the same on any machine."""

from __future__ import annotations

import hashlib
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_tumor_tl.data.splits.grouped import group_counts, grouped_split, pick_groups, targets
from brain_tumor_tl.data.splits.groups import Indices, groups_with_several, singletons
from brain_tumor_tl.data.splits.random import random_split
from brain_tumor_tl.data.splits.split import Split

images = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=4, max_size=80)
seeds = st.integers(0, 2**32 - 1)


def labels_and_groups(rows: list[tuple[int, int]]) -> tuple[Indices, Indices]:
    table = np.array(rows, dtype=np.int64)
    return table[:, 0], table[:, 1]


def assert_whole(split: Split, groups: Indices) -> None:
    """Assert that every image is in one split and no group in two."""
    everyone = np.concatenate([split.train, split.val, split.test])
    assert np.array_equal(np.sort(everyone), np.arange(len(groups)))
    assert len(groups_with_several(groups, split.codes)) == 0
    for positions in (split.train, split.val, split.test):
        assert positions.dtype == np.int64
        assert (np.diff(positions) > 0).all()


@given(images, seeds, st.sampled_from([0.0, 0.1, 0.3]), st.booleans())
def test_grouped_split__invariants(rows: list[tuple[int, int]], seed: int, val: float, stratify: bool) -> None:
    labels, groups = labels_and_groups(rows)
    try:
        split = grouped_split(labels, groups, seed, 0.25, val, stratify)
    except ValueError as error:
        if "Expected images in every split" not in str(error):
            raise
        return

    assert_whole(split, groups)
    again = grouped_split(labels, groups * 7 - 3, seed, 0.25, val, stratify)
    assert split.names() == again.names(), "depends on who stands together, not on numbers"


@given(images, seeds, st.sampled_from([0.1, 0.25, 0.5]))
def test_grouped_split__size_within_half_a_group(rows: list[tuple[int, int]], seed: int, fraction: float) -> None:
    labels, groups = labels_and_groups(rows)
    try:
        split = grouped_split(labels, groups, seed, fraction)
    except ValueError:
        return

    largest = np.bincount(groups).max()
    assert abs(len(split.test) - np.floor(len(labels) * fraction + 0.5)) <= largest / 2


@given(images, seeds, st.sampled_from([0.0, 0.2]))
def test_grouped_split__every_class_if_it_has_the_groups(rows: list[tuple[int, int]], seed: int, val: float) -> None:
    labels = np.array([row[0] for row in rows])
    groups = np.array([16 * label + group % 4 for label, group in rows])  # at most 4 of each class, some large
    wanted = 2 if val == 0 else 3
    if min(len(np.unique(groups[labels == label])) for label in np.unique(labels)) < wanted:
        return

    split = grouped_split(labels, groups, seed, 0.1, val, stratify=True, every_class=True)

    assert_whole(split, groups)
    for positions in (split.train, split.test) if val == 0 else (split.train, split.val, split.test):
        assert {*labels[positions].tolist()} == {*labels.tolist()}


@given(st.lists(st.integers(0, 3), min_size=10, max_size=60), seeds)
def test_grouped_split__groups_of_one_are_split_at_random(values: list[int], seed: int) -> None:
    labels = np.array(values)

    ours = grouped_split(labels, singletons(len(labels)), seed, 0.2, 0.1)

    assert ours.names() == random_split(labels, seed, 0.2, 0.1).names()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_grouped_split__strata_with_copies(seed: int) -> None:
    labels = np.repeat(np.arange(4), (500, 901, 937, 926))
    groups = np.arange(3264) - (np.arange(3264) % 9 == 1)  # every ninth image is a copy of the one before
    split = grouped_split(labels, groups, seed, 0.2, 0.1, stratify=True)

    assert_whole(split, groups)
    assert np.bincount(labels[split.test]).tolist() == [100, 180, 188, 185]  # as scikit-learn's strata
    assert np.abs(np.bincount(labels[split.val]) - 0.1 * np.bincount(labels)).max() <= 1


def test_grouped_split__same_on_any_machine() -> None:
    labels = np.repeat(np.arange(4), (50, 90, 94, 92))
    split = grouped_split(labels, np.arange(326) // 3, 0, 0.2, 0.1, stratify=True)

    digest = hashlib.sha256(",".join(split.names()).encode()).hexdigest()
    assert digest[:16] == "4fbb8b50f2a231a3"


def test_grouped_split__one_group() -> None:
    with pytest.raises(ValueError, match=r"none for t.* from 1 group\(s\) of images that must stay together"):
        grouped_split(np.array([0, 1, 0]), np.zeros(3, dtype=np.int64), 0, 0.2)


def test_grouped_split__no_validation_split() -> None:
    with pytest.raises(ValueError, match=r"got none for val from 2 group\(s\) .*\. Change data\.test_fraction"):
        grouped_split(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), 0, 0.5, 0.25)


def test_group_counts__by_class() -> None:
    labels, groups = np.array([2, 0, 2, 2]), np.array([0, 0, 1, 1])

    assert group_counts(labels, groups, stratify=False).tolist() == [[2], [2]]
    assert group_counts(labels, groups, stratify=True).tolist() == [[1, 1], [2, 0]]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=5), st.floats(0.01, 0.99))
def test_targets__sum_to_the_share(sizes: list[int], fraction: float) -> None:
    result = targets(np.diag(sizes), fraction)

    exact = np.array(sizes) * fraction
    assert result.sum() == np.floor(exact.sum() + 0.5)
    assert (np.abs(result - exact) <= 1).all()


@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(0, 20))
def test_pick_groups__half_of_the_largest_away_at_most(sizes: list[int], target: int) -> None:
    counts = np.array(sizes)[:, None]
    order = np.random.RandomState(len(sizes) + target).permutation(len(sizes))

    chosen = pick_groups(counts, np.array([target]), order)

    uses = product([0, 1], repeat=len(sizes))
    reachable = {sum(size for size, taken in zip(sizes, use, strict=True) if taken) for use in uses}
    nearest = min(abs(target - total) for total in reachable)
    assert abs(target - counts[chosen].sum()) <= max(nearest, max(sizes) / 2)


def test_pick_groups__only_those_in_the_order() -> None:
    chosen = pick_groups(np.ones((4, 1), dtype=np.int64), np.array([4]), np.array([2, 0]))

    assert chosen.tolist() == [True, False, True, False]
