"""Protocol: each split by its name, what splits have in common, and errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.leakage.copies import find_copies
from brain_tumor_tl.data.leakage.file_info import load_file_info
from brain_tumor_tl.data.leakage.relations import Relations
from brain_tumor_tl.data.splits.groups import groups_with_several, singletons
from brain_tumor_tl.data.splits.official import official_split
from brain_tumor_tl.data.splits.protocol import (
    FOLDS_BY,
    SPLITS,
    UNKNOWN_PATIENTS,
    Protocol,
    describe_split,
    divide,
    shuffled,
)
from brain_tumor_tl.data.splits.random import random_split
from brain_tumor_tl.data.splits.split import TEST, TRAIN, VAL, Split
from brain_tumor_tl.data.table import apply_tables

COUNT = 60
LABELS = np.arange(COUNT) % 3
COPIES = np.arange(COUNT) - (np.arange(COUNT) % 12 == 3) * 3  # 3, 15, 27, 39, 51 copy what stands three before


def index_of(labels: Any = LABELS, testing: int = 12) -> Index:
    """Return an index of 60 images in 3 classes; the last `testing` are in Testing."""
    official = ("train",) * (COUNT - testing) + ("test",) * testing
    paths = tuple(f"{folder}/p ({i}).png" for i, folder in enumerate(official))
    return Index(Path("set"), paths, labels, ("a", "b", "c"), official, paths)


PATIENTS = np.where(np.arange(COUNT) % 4 == 0, -1, np.arange(COUNT) // 5)  # a quarter is not known


def relations_of(**known: Any) -> Relations:
    pictures = np.random.default_rng(0).integers(0, 256, (COUNT, 32, 32), dtype=np.uint8)
    pictures[1::2] = pictures[::2]  # every second one looks like the one before
    given = {"identical": singletons(COUNT), "copies": COPIES, "thumbnails": pictures}
    return Relations(index_of().paths, **(given | known))


@pytest.mark.parametrize("split", [name for name in SPLITS if name != "kfold"])
def test_divide__every_split(split: str) -> None:
    index, relations = index_of(), relations_of(patients=PATIENTS)

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

    expected = official_split(LABELS, singletons(COUNT), list(index_of().official), 0, 0, False, False)
    assert split.names() == expected.names()


@pytest.mark.parametrize("by", FOLDS_BY)
def test_divide__folds_test_everyone_once(by: str) -> None:
    relations = relations_of(patients=PATIENTS)
    splits = [divide(Protocol("kfold", fold=f, folds=4, fold_by=by), index_of(), relations, 0) for f in range(4)]

    assert sorted(np.concatenate([split.test for split in splits]).tolist()) == list(range(COUNT))
    assert all(len(groups_with_several(relations.groups(by), split.codes)) == 0 for split in splits)


def test_divide__patients_stay_together() -> None:
    patients = np.arange(COUNT) // 5
    split = divide(Protocol("patients"), index_of(), relations_of(patients=patients), 0)

    assert len(groups_with_several(patients, split.codes)) == 0
    assert len(groups_with_several(COPIES, split.codes)) == 0
    assert len(split.test) == pytest.approx(12, abs=5)


def test_divide__patients_of_grouped_splits_are_only_counted() -> None:
    relations = relations_of(patients=np.arange(COUNT) // 5)
    protocol = Protocol("grouped")

    found = describe_split(protocol, divide(protocol, index_of(), relations, 0), index_of(), relations)

    assert found["copies_in_training"] == 0
    assert found["known_patients"] == 12
    assert found["patients_in_training"] > 6


@pytest.mark.parametrize("known", ["all", "half"])
def test_divide__images_of_unknown_patients(known: str) -> None:
    index, patients = index_of(), np.arange(COUNT) // 5 if known == "all" else PATIENTS
    relations = relations_of(patients=patients)
    unknown = np.flatnonzero(patients < 0).tolist()

    group, train_only, drop = (
        divide(Protocol("patients", unknown_patients=mode), index, relations, 0) for mode in UNKNOWN_PATIENTS
    )

    assert bool(unknown) == (known == "half")
    assert group.left_out.tolist() == []
    assert bool({*unknown} & {*group.test.tolist()}) == bool(unknown)
    assert not {*unknown} & {*train_only.test.tolist(), *train_only.val.tolist()}
    assert drop.left_out.tolist() == unknown
    with_test = np.isin(relations.groups("patients"), relations.groups("patients")[train_only.test])
    assert train_only.left_out.tolist() == [i for i in unknown if with_test[i]], "else copies of test images"
    for split in (group, train_only, drop):
        assert len(split.test) > 0
        assert len(groups_with_several(relations.groups("patients"), split.codes)) == 0


tables = st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 9), st.integers(0, 40)), min_size=6, max_size=60)
protocols = st.builds(
    Protocol,
    st.sampled_from(["patients", "kfold"]),
    st.sampled_from([0.2, 0.4]),
    st.sampled_from([0.0, 0.2]),
    st.booleans(),
    fold=st.integers(0, 2),
    folds=st.just(3),
    fold_by=st.just("patients"),
    drop_conflicts=st.booleans(),
    unknown_patients=st.sampled_from(sorted(UNKNOWN_PATIENTS)),
)


@given(tables, protocols, st.integers(0, 2**32 - 1))
def test_divide__no_patient_in_two_splits_for_any_table(rows: Any, protocol: Protocol, seed: int) -> None:
    labels, patients, copies = np.array(rows, dtype=np.int64).T
    count = len(rows)
    paths = tuple(f"p ({i}).png" for i in range(count))
    index = Index(Path("set"), paths, labels, ("a", "b", "c"), ("",) * count, paths)
    pictures = np.random.default_rng(seed).integers(0, 256, (count, 32, 32), dtype=np.uint8)
    pictures[1::2] = pictures[: 2 * (count // 2) : 2]  # neighbours are series
    known = None if (patients < 0).all() else patients
    relations = Relations(paths, copies, copies, known, pictures)
    try:
        split = divide(protocol, index, relations, seed)
    except ValueError as error:
        if not re.match(r"Expected (images|training images|to know|at least data\.folds)", str(error)):
            raise
        return

    found = describe_split(protocol, split, index, relations)
    together = [patients[split.codes == code] for code in (TRAIN, VAL, TEST)]
    for number, one in enumerate(together):
        for other in together[number + 1 :]:
            assert not {*one[one >= 0].tolist()} & {*other.tolist()}
    assert found["patients_in_several_splits"] == found["patients_in_training"] == found["copies_in_training"] == 0
    assert found["groups_in_several_splits"] == 0
    assert set(range(count)) == {*split.train, *split.val, *split.test, *split.left_out}
    if protocol.split == "patients" and protocol.unknown_patients == "group":
        kept = split.codes >= 0
        assert {*labels[split.test].tolist()} == {*labels[split.train].tolist()} == {*labels[kept].tolist()}


REFUSED: dict[str, tuple[Any, str]] = {
    "no patient is known": ({"patients": None}, r"patients of some images .*, got none for 60 images"),
    "a class of one patient": (
        {"patients": np.where(LABELS == 2, 99, np.arange(COUNT) // 3)},
        r"c: 20 image\(s\) of 1 patient\(s\) or group\(s\), none for (training|test)",
    ),
    "a class of one patient, folds": (
        {"patients": np.where(LABELS == 2, 99, np.arange(COUNT) // 3), "split": "kfold", "fold_by": "patients"},
        r"c: 20 image\(s\) of 1 patient\(s\) or group\(s\), so the fold that tests them trains on none",
    ),
    "a class without known patients is dropped": (
        {"patients": np.where(LABELS == 1, -1, np.arange(COUNT) // 6), "unknown_patients": "drop"},
        r"b: 0 image\(s\) of 0 patient\(s\) or group\(s\) left, since no patient of this class is known",
    ),
}


@pytest.mark.parametrize(("given_values", "expected"), REFUSED.values(), ids=REFUSED)
def test_divide__patients_that_can_not_be_kept_apart(given_values: dict[str, Any], expected: str) -> None:
    values = {"split": "patients"} | given_values
    relations = relations_of(patients=values.pop("patients"), copies=singletons(COUNT), identical=singletons(COUNT))

    with pytest.raises(ValueError, match=expected):
        divide(Protocol(**values), index_of(), relations, 0)


def test_title__of_patients() -> None:
    title = Protocol("kfold", fold=1, fold_by="patients", unknown_patients="train_only").title()

    assert title == "k-fold split of whole patients, unknown ones for training alone, fold 1 of 5 counted from 0"
    assert Protocol("patients").title() == "random split of whole patients, unknown ones by copies and series"
    assert Protocol("grouped").title() == "random split of whole groups"


def test_describe_split__half_of_the_patients_known() -> None:
    relations = relations_of(patients=PATIENTS)
    split = divide(Protocol(), index_of(), relations, 0)

    found = describe_split(Protocol(), split, index_of(), relations)

    test, train = PATIENTS[split.test], set(PATIENTS[split.train].tolist())
    assert found["known_patients"] == (test >= 0).sum() < len(test)
    assert found["patients_in_training"] == sum(number in train for number in test[test >= 0].tolist()) > 0
    assert found["images_without_patient"] == 15


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


@pytest.mark.parametrize("key", ["split", "fold_by", "unknown_patients"])
def test_protocol__unknown_choice(key: str) -> None:
    with pytest.raises(ValueError, match=rf"`data\.{key}` to be one of \w+, \w+, .*, got 'scanner'"):
        Protocol(**{key: "scanner"})  # type: ignore[arg-type]  # each is a str


def test_describe_split__of_a_random_split() -> None:
    index, relations = index_of(), relations_of(identical=np.arange(COUNT) // 2, patients=singletons(COUNT))
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

    unknown = (
        "groups_in_several_splits", "patients_in_several_splits", "identical_in_training", "copies_in_training",
        "patients_in_training", "known_patients", "images_without_patient", "copies_searched",
    )  # fmt: skip
    assert [found[key] for key in unknown] == [None] * 8


def test_describe_split__says_which_copies_its_counts_are_of() -> None:
    index, protocol = index_of(), Protocol()
    quick = Relations(index.paths, identical=COPIES)
    split = divide(protocol, index, quick, 0)

    found = describe_split(protocol, split, index, quick)

    assert found["copies_in_training"] is None
    assert found["copies_searched"] == "identical pixels only; near copies not searched"
    whole = Relations(index.paths, identical=COPIES, copies=COPIES)
    assert describe_split(protocol, split, index, whole)["copies_searched"] == "identical pixels and near copies"


def test_shuffled__training_split_only() -> None:
    split = Split(np.repeat([0, 1, 2], [40, 10, 10]))

    result = shuffled(LABELS, split, 0)

    assert np.array_equal(result[40:], LABELS[40:])
    assert sorted(result[:40]) == sorted(LABELS[:40])
    assert not np.array_equal(result[:40], LABELS[:40])
    assert np.array_equal(result, shuffled(LABELS, split, 0))
    assert not np.array_equal(result, shuffled(LABELS, split, 1))
    assert np.array_equal(LABELS, np.arange(COUNT) % 3), "the true labels stay as they are"


@pytest.mark.slow
@pytest.mark.real_data
def test_divide__which_splits_of_the_studys_images_part_its_patients(
    real_data: Path, study_cache: Path, study_classes: list[list[str]]
) -> None:
    index, patients = apply_tables(read_index(real_data, study_classes), study_classes, None, "auto")
    info = load_file_info(index, study_cache)
    copies = find_copies(info, study_cache)
    assert patients is not None
    relations = Relations(index.paths, copies.pixels, copies.groups, patients.numbers, info.thumbnails)

    found = {}
    for by in FOLDS_BY:
        folds = [
            describe_split(protocol, divide(protocol, index, relations, seed), index, relations)
            for seed in (0, 1)
            for fold in range(5)
            for protocol in [Protocol("kfold", fold=fold, fold_by=by, stratify=True)]
        ]
        assert sum(fold["known_patients"] for fold in folds) == 2 * 2345
        found[by] = 100 * sum(fold["patients_in_training"] for fold in folds) / (2 * 2345)

    assert found.pop("patients") == 0
    assert found == pytest.approx({"random": 99.1, "grouped": 99.1, "series": 94.6}, abs=0.1)
