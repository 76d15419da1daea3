"""Folds: every image is tested once, no group is in two splits, and folds are of one size."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_tumor_tl.data.splits.folds import assign_folds, fold_split
from brain_tumor_tl.data.splits.groups import groups_with_several, singletons

images = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), min_size=6, max_size=80)


@given(images, st.integers(0, 1000), st.integers(2, 5), st.sampled_from([0.0, 0.15]), st.booleans())
def test_fold_split__each_image_is_tested_once(
    rows: list[tuple[int, int]], seed: int, folds: int, val: float, stratify: bool
) -> None:
    labels, groups = np.array(rows, dtype=np.int64).T
    tested = []
    for fold in range(folds):
        try:
            split = fold_split(labels, groups, seed, fold, folds, val, stratify)
        except ValueError as error:
            if not re.search(r"Expected images in every split|Expected at least data\.folds", str(error)):
                raise
            return
        assert len(split) == len(labels)
        assert len(np.unique(np.concatenate([split.train, split.val, split.test]))) == len(labels)
        assert len(groups_with_several(groups, split.codes)) == 0
        tested += split.test.tolist()
    assert sorted(tested) == list(range(len(labels)))


@pytest.mark.parametrize("stratify", [False, True], ids=["plain", "stratified"])
def test_fold_split__folds_of_single_images_are_of_one_size(stratify: bool) -> None:
    labels = np.repeat(np.arange(4), (500, 901, 937, 926))

    tests = [fold_split(labels, singletons(3264), 0, fold, 5, stratify=stratify).test for fold in range(5)]

    assert sorted(map(len, tests)) == [652, 653, 653, 653, 653]
    counts = np.array([np.bincount(labels[test]) for test in tests])
    if stratify:
        assert (np.ptp(counts, axis=0) <= 1).all()
    else:
        assert (np.ptp(counts, axis=0) > 1).any()


def test_fold_split__groups_balance_like_scikit_learn() -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    random = np.random.RandomState(3)
    groups = np.repeat(np.arange(60), random.randint(1, 12, 60))
    labels = random.randint(0, 4, 60)[groups]

    ours = [fold_split(labels, groups, 0, fold, 5, stratify=True).test for fold in range(5)]
    theirs = [test for _, test in StratifiedGroupKFold(5).split(labels, labels, groups)]

    def spread(tests: list[np.ndarray]) -> int:
        return int(np.ptp([np.bincount(labels[test], minlength=4) for test in tests], axis=0).max())

    assert spread(ours) <= spread(theirs) + 2


def test_fold_split__validation_differs_by_fold() -> None:
    splits = [fold_split(np.zeros(50, dtype=np.int64), singletons(50), 0, fold, 5, 0.2) for fold in range(5)]

    assert [len(split.val) for split in splits] == [10] * 5
    assert len({tuple(split.val) for split in splits}) == 5


def test_fold_split__same_on_any_machine() -> None:
    labels = np.repeat(np.arange(4), (50, 90, 94, 92))
    split = fold_split(labels, np.arange(326) // 3, 7, 1, 5, 0.1, stratify=True)

    digest = hashlib.sha256(",".join(split.names()).encode()).hexdigest()
    assert digest[:16] == "8383460656dd1920"


def test_fold_split__seeds_differ() -> None:
    first, second = (fold_split(np.zeros(50, dtype=np.int64), singletons(50), seed, 0, 5).test for seed in (0, 1))

    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("fold", [-1, 5])
def test_fold_split__no_such_fold(fold: int) -> None:
    with pytest.raises(ValueError, match=rf"`data\.fold` from 0 to 4 for data\.folds=5, got {fold}"):
        fold_split(np.zeros(50, dtype=np.int64), singletons(50), 0, fold, 5)


def test_fold_split__fewer_groups_than_folds() -> None:
    with pytest.raises(ValueError, match=r"at least data\.folds=5 groups .*, got 3\. Lower data\.folds"):
        fold_split(np.zeros(50, dtype=np.int64), np.arange(50) % 3, 0, 0, 5)


def test_assign_folds__no_fold_is_empty() -> None:
    fold_of = assign_folds(np.array([[10], [10], [10], [1], [1]]), 0, 5)

    assert sorted(fold_of.tolist()) == [0, 1, 2, 3, 4]
