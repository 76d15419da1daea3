"""Protocol: each split by its name, what splits have in common, and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.leakage.relations import Relations
from brain_tumor_tl.data.splits.groups import alone, groups_with_several
from brain_tumor_tl.data.splits.official import official_split
from brain_tumor_tl.data.splits.protocol import FOLDS_BY, SPLITS, Protocol, describe_split, divide, shuffled
from brain_tumor_tl.data.splits.random import random_split
from brain_tumor_tl.data.splits.split import Split

COUNT = 60
LABELS = np.arange(COUNT) % 3
COPIES = np.arange(COUNT) - (np.arange(COUNT) % 12 == 3) * 3  # 3, 15, 27, 39, 51 copy what stands three before


def index_of(labels: Any = LABELS, testing: int = 12) -> Index:
    """Return an index of 60 images in 3 classes; the last `testing` are in Testing."""
    official = ("train",) * (COUNT - testing) + ("test",) * testing
    paths = tuple(f"{folder}/p ({i}).png" for i, folder in enumerate(official))
    return Index(Path("set"), paths, labels, ("a", "b", "c"), official, paths)


def relations_of(**known: Any) -> Relations:
    pictures = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32), dtype=np.uint8)
    pictures[1::2] = pictures[::2]  # every second one looks like the one before
    given = {"identical": alone(COUNT), "copies": COPIES, "thumbnails": pictures}
    return Relations(index_of().paths, **(given | known))


@pytest.mark.parametrize("split", [name for name in SPLITS if name != "kfold"])
def test_divide__every_split(split: str) -> None:
    index, relations = index_of(), relations_of()

    result = divide(Protocol(split, val_fraction=0.1), index, relations, 0)

    positions = [result.train, result.val, result.test, result.left_out]
    assert sorted(np.concatenate(positions).tolist()) == list(range(COUNT))
    assert len(result.val) > 0
    if split not in ("random", "official"):
        assert len(groups_with_several(COPIES, result.codes)) == 0


def test_divide__random_is_the_studys() -> None:
    split = divide(Protocol(val_fraction=0.1, stratify=True), index_of(), Relations(index_of().paths), 5)

    assert split.names() == random_split(LABELS, 5, 0.2, 0.1, stratify=True).names()


def test_divide__official_needs_no_copies() -> None:
    split = divide(Protocol("official"), index_of(), Relations(index_of().paths), 0)

    assert split.names() == official_split(LABELS, alone(COUNT), list(index_of().official), 0, 0, False, False).names()


@pytest.mark.parametrize("by", FOLDS_BY)
def test_divide__folds_test_everyone_once(by: str) -> None:
    relations = relations_of()
    splits = [divide(Protocol("kfold", fold=f, folds=4, fold_by=by), index_of(), relations, 0) for f in range(4)]

    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == list(range(COUNT))
    assert all(len(groups_with_several(relations.groups(by), split.codes)) == 0 for split in splits)


def test_divide__patients_stay_together() -> None:
    patients = np.arange(COUNT) // 5
    split = divide(Protocol("grouped"), index_of(), relations_of(patients=patients), 0)

    assert len(groups_with_several(patients, split.codes)) == 0
    assert len(split.test) == pytest.approx(12, abs=5)


def test_divide__series_stay_together() -> None:
    split = divide(Protocol("series"), index_of(), relations_of(), 0)

    pairs = np.arange(COUNT) // 2
    assert len(groups_with_several(pairs[:48], split.codes[:48])) == 0


def test_divide__conflicts_are_left_out_with_all_copies() -> None:
    labels = LABELS.copy()
    labels[[3, 27]] = (labels[[3, 27]] + 1) % 3

    split = divide(Protocol("random", drop_conflicts=True), index_of(labels), relations_of(), 0)

    assert split.left_out.tolist() == [0, 3, 24, 27]
    assert (len(split.train), len(split.test)) == (45, 11)


@pytest.mark.parametrize(
    "protocol",
    [Protocol("grouped"), Protocol("random", drop_conflicts=True), Protocol("kfold", fold_by="series")],
    ids=["grouped", "conflicts", "series"],
)
def test_divide__needs_copies_to_be_known(protocol: Protocol) -> None:
    assert protocol.needs_copies
    with pytest.raises(ValueError, match=r"which images are copies\. Give data\.find_copies=auto"):
        divide(protocol, index_of(), Relations(index_of().paths), 0)


def test_divide__class_that_is_not_trained() -> None:
    labels = np.where(np.arange(COUNT) < 48, np.arange(COUNT) % 2, 2)

    with pytest.raises(ValueError, match=r"split by the set's own folders leaves none of c\. Give data\.stratify=true"):
        divide(Protocol("official"), index_of(labels), relations_of(), 0)


def test_divide__unknown_split() -> None:
    with pytest.raises(ValueError, match=r"one of random, grouped, .* got 'patients'"):
        divide(Protocol("patients"), index_of(), relations_of(), 0)


def test_describe_split__of_a_random_split() -> None:
    index, relations = index_of(), relations_of(identical=np.arange(COUNT) // 2, patients=alone(COUNT))
    split = divide(Protocol(), index, relations, 2)

    found = describe_split(Protocol(), split, index, relations)

    training = set(split.train.tolist())
    twins = sum(bool({i - i % 2, i - i % 2 + 1} - {i} & training) for i in split.test.tolist())
    near = sum(bool(set(np.flatnonzero(COPIES[i] == COPIES).tolist()) & training) for i in split.test.tolist())
    assert found["test_images"] == 12
    assert found["identical_in_training"] == twins > 0
    assert found["copies_in_training"] == near == found["groups_in_several_splits"] > 0
    assert found["patients_in_several_splits"] == 0
    assert (found["fold"], found["missing_classes"], found["left_out"]) == (None, {}, 0)


def test_describe_split__names_missing_classes_and_folds() -> None:
    labels = np.where(np.arange(COUNT) < 48, LABELS, 2)
    index = index_of(labels)
    protocol = Protocol("official_clean")

    found = describe_split(protocol, divide(protocol, index, relations_of(), 0), index, relations_of())

    assert found["missing_classes"] == {"test": ["a", "b"]}
    fold = Protocol("kfold", fold=1, folds=3)
    found = describe_split(fold, divide(fold, index, relations_of(), 0), index, relations_of())
    assert (found["fold"], found["folds"], found["fold_by"]) == (1, 3, "grouped")


def test_describe_split__not_computed() -> None:
    relations = Relations(index_of().paths)
    found = describe_split(Protocol(), divide(Protocol(), index_of(), relations, 0), index_of(), relations)

    unknown = ("groups_in_several_splits", "patients_in_several_splits", "identical_in_training", "copies_in_training")
    assert [found[key] for key in unknown] == [None] * 4


def test_shuffled__training_split_only() -> None:
    split = Split(np.repeat([0, 1, 2], [40, 10, 10]))

    result = shuffled(LABELS, split, 0)

    assert np.array_equal(result[40:], LABELS[40:])
    assert sorted(result[:40]) == sorted(LABELS[:40])
    assert not np.array_equal(result[:40], LABELS[:40])
    assert np.array_equal(result, shuffled(LABELS, split, 0))
    assert not np.array_equal(result, shuffled(LABELS, split, 1))
    assert np.array_equal(LABELS, np.arange(COUNT) % 3), "the true labels stay as they are"
