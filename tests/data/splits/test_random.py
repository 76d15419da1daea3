"""Random: sizes, seeds, strata and errors."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from brain_tumor_tl.data.splits.random import random_split, spread_classes

STUDY_COUNTS = (500, 901, 937, 926)


@pytest.fixture
def study_labels() -> NDArray[np.int64]:
    """The labels of the study's 3264 images, class after class."""
    return np.repeat(np.arange(4), STUDY_COUNTS)


def by_class(labels: NDArray[np.int64], positions: NDArray[np.int64]) -> list[int]:
    """Return the number of images of each class among some images."""
    counts: list[int] = np.bincount(labels[positions], minlength=int(labels.max()) + 1).tolist()
    return counts


SIZES = {
    "the study's": (0.2, 0.0, (2611, 0, 653)),
    "with validation": (0.2, 0.1, (2285, 326, 653)),
    "half": (0.5, 0.0, (1632, 0, 1632)),
    "little": (0.001, 0.001, (3258, 3, 3)),
}


@pytest.mark.parametrize("stratify", [False, True], ids=["plain", "stratified"])
@pytest.mark.parametrize(("test_fraction", "val_fraction", "sizes"), SIZES.values(), ids=SIZES.keys())
def test_random_split__sizes(
    test_fraction: float,
    val_fraction: float,
    sizes: tuple[int, int, int],
    stratify: bool,
    study_labels: NDArray[np.int64],
) -> None:
    split = random_split(study_labels, 7, test_fraction, val_fraction, stratify)

    assert (len(split.train), len(split.val), len(split.test)) == sizes
    everyone = np.concatenate([split.train, split.val, split.test])
    assert np.array_equal(np.sort(everyone), np.arange(3264))
    for positions in (split.train, split.val, split.test):
        assert positions.dtype == np.int64
        assert (np.diff(positions) > 0).all()


@pytest.mark.parametrize("stratify", [False, True], ids=["plain", "stratified"])
def test_random_split__seed_decides(stratify: bool, study_labels: NDArray[np.int64]) -> None:
    splits = [random_split(study_labels, seed, stratify=stratify) for seed in (0, 0, 1, 2**32 - 1)]

    tests = [split.test.tolist() for split in splits]
    assert tests[0] == tests[1]
    assert tests[0] != tests[2]
    assert tests[2] != tests[3]


PINNED = {
    "plain": (False, "7c3ecf823686dec5"),
    "stratified": (True, "678c9735333764b2"),
}


@pytest.mark.parametrize(("stratify", "expected"), PINNED.values(), ids=PINNED.keys())
def test_random_split__same_on_any_machine(stratify: bool, expected: str, study_labels: NDArray[np.int64]) -> None:
    split = random_split(study_labels, 0, val_fraction=0.1, stratify=stratify)

    text = ",".join(split.names())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == expected


def test_random_split__is_pure(study_labels: NDArray[np.int64]) -> None:
    labels = study_labels.copy()
    state = pickle.dumps(np.random.get_state())  # noqa: NPY002 - the global generator is monitored

    first = random_split(study_labels, 3, stratify=True)
    assert pickle.dumps(np.random.get_state()) == state  # noqa: NPY002 - it was not moved
    np.random.seed(12)  # noqa: NPY002 - nor is it listened to
    second = random_split(study_labels, 3, stratify=True)

    assert np.array_equal(first.test, second.test)
    assert np.array_equal(study_labels, labels)


def test_random_split__labels_count_only_when_stratified(study_labels: NDArray[np.int64]) -> None:
    others = study_labels[::-1].copy()

    assert np.array_equal(random_split(study_labels, 5).test, random_split(others, 5).test)
    plain, stratified = random_split(study_labels, 5), random_split(study_labels, 5, stratify=True)
    assert not np.array_equal(plain.test, stratified.test)


def test_random_split__every_image_gets_its_turn() -> None:
    labels = np.arange(50) % 4
    times = np.zeros(50)
    for seed in range(400):
        times[random_split(labels, seed).test] += 1

    # Binomial with n = 400 and p = 0.2: mean 80, standard deviation 8; 48 is six of them.
    assert times.sum() == 400 * 10
    assert times.min() > 80 - 48
    assert times.max() < 80 + 48


COUNTS = {
    "study": STUDY_COUNTS,
    "balanced": (100, 100, 100, 100),
    "two classes": (98, 155),
    "one rare": (1000, 11, 500),
    "odd": (37, 41, 53, 67, 71),
}


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
def test_random_split__stratify(counts: tuple[int, ...], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))

    split = random_split(labels, seed, test_fraction=0.2, val_fraction=0.1, stratify=True)

    for positions, fraction in ((split.test, 0.2), (split.val, 0.1), (split.train, 0.7)):
        off = np.array(by_class(labels, positions)) - fraction * np.array(counts)
        assert np.abs(off).max() < 2  # split sizes and class counts are whole numbers


def test_random_split__stratify_study_as_scikit_learn(study_labels: NDArray[np.int64]) -> None:
    from sklearn.model_selection import train_test_split

    _, test = train_test_split(np.arange(3264), test_size=0.2, stratify=study_labels, random_state=0)

    ours = by_class(study_labels, random_split(study_labels, 0, stratify=True).test)
    assert ours == by_class(study_labels, test) == [100, 180, 188, 185]


REFUSED = {
    "no test": (10, 0.01, 0.0, r"got none for test from 10 group\(s\)"),
    "no validation": (10, 0.2, 0.01, r"got none for val from 10"),
    "no training": (10, 0.9, 0.1, r"got none for train from 10"),
    "more than all": (10, 0.9, 0.9, r"got none for train from 10"),
    "no images": (0, 0.2, 0.0, r"got none for train and test from 0 .*\. Change data\.test_fraction, .* or add images"),
}


@pytest.mark.parametrize(("count", "test_fraction", "val_fraction", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_random_split__empty_split(count: int, test_fraction: float, val_fraction: float, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        random_split(np.zeros(count, dtype=np.int64), 0, test_fraction, val_fraction)


def test_random_split__smallest() -> None:
    split = random_split(np.array([0, 1]), 0, test_fraction=0.5)

    assert sorted([*split.train.tolist(), *split.test.tolist()]) == [0, 1]


@pytest.mark.parametrize("seed", [0, 1])
def test_spread_classes__any_stretch_has_the_shares(seed: int) -> None:
    counts = np.array([40, 10, 25])
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(3), counts))

    order = spread_classes(labels)

    assert np.array_equal(np.sort(order), np.arange(75))
    for length in range(1, 76):
        held = np.bincount(labels[order[:length]], minlength=3)
        assert np.abs(held - counts * length / 75).max() <= 1.5


def test_spread_classes__places_in_the_middle_of_each_share() -> None:
    # Places 1/4 and 3/4 for the two of class 1, then 1/8, 3/8, 5/8 and 7/8 for the four of class 0.
    assert spread_classes(np.array([1, 1, 0, 0, 0, 0])).tolist() == [2, 0, 3, 4, 1, 5]
