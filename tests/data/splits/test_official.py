"""Official: the set's own folders decide; the clean variant tests on nothing that is in Training."""

from __future__ import annotations

import numpy as np
import pytest

from brain_tumor_tl.data.splits.groups import Indices, groups_with_several, singletons
from brain_tumor_tl.data.splits.official import official_split
from brain_tumor_tl.data.splits.split import Split

FOLDERS = ["train"] * 12 + ["test"] * 8
LABELS = np.arange(20) % 4
COPIED = np.array([*range(12), 0, 1, 1, 2, 16, 17, 18, 19])  # the first four test images have a copy in Training


def split_by_folders(
    groups: Indices, official: list[str] = FOLDERS, seed: int = 0, val: float = 0.0, clean: bool = False
) -> Split:
    return official_split(LABELS, groups, official, seed, val, False, clean)


def test_official_split__as_the_folders_are() -> None:
    split = split_by_folders(COPIED)

    assert split.train.tolist() == list(range(12))
    assert split.test.tolist() == list(range(12, 20))
    assert len(split.val) == len(split.left_out) == 0


def test_official_split__clean_leaves_copies_out() -> None:
    split = split_by_folders(COPIED, clean=True)

    assert split.train.tolist() == list(range(12))
    assert split.test.tolist() == [16, 17, 18, 19]
    assert split.left_out.tolist() == [12, 13, 14, 15]
    assert split.names()[12:] == ["left_out"] * 4 + ["test"] * 4


@pytest.mark.parametrize("clean", [False, True], ids=["as it is", "clean"])
def test_official_split__validation_from_training_by_group(clean: bool) -> None:
    groups = np.where(np.arange(20) < 12, np.arange(20) // 3, COPIED)
    split = split_by_folders(groups, seed=3, val=0.15, clean=clean)

    assert len(split.val) == 3
    assert set(split.val) <= set(range(12))
    training = np.concatenate([split.train, split.val])
    assert len(groups_with_several(groups[:12], split.codes[:12])) == 0
    if clean:
        assert not set(groups[split.test]) & set(groups[training])


def test_official_split__validation_of_its_own() -> None:
    official = ["train"] * 10 + ["val"] * 2 + ["test"] * 8

    split = split_by_folders(singletons(20), official, val=0.5)

    assert split.val.tolist() == [10, 11]


def test_official_split__copies_of_the_validation_folder_are_not_clean() -> None:
    official = ["train"] * 10 + ["val"] * 2 + ["test"] * 8
    groups = np.array([*range(12), 10, *range(13, 20)])

    assert split_by_folders(groups, official, val=0.1, clean=True).left_out.tolist() == [12]


REFUSED = {
    "no folders": ([""] * 20, 0.0, False, r"found none in Training and Testing\. data\.split=grouped"),
    "no Testing": (["train"] * 20, 0.0, False, r"found none in Testing\."),
    "validation not asked for": (
        ["train"] * 10 + ["val"] * 2 + ["test"] * 8, 0.0, False,
        r"a validation folder of its own with 2 images\. Give any data\.val_fraction above 0",
    ),
    "nothing clean": (["train"] * 12 + ["test"] * 8, 0.0, True, r"got none: all 8 have one"),
}  # fmt: skip


@pytest.mark.parametrize(("official", "val", "clean", "expected"), REFUSED.values(), ids=REFUSED)
def test_official_split__refused(official: list[str], val: float, clean: bool, expected: str) -> None:
    groups = np.zeros(20, dtype=np.int64) if clean else singletons(20)
    with pytest.raises(ValueError, match=expected):
        split_by_folders(groups, official, val=val, clean=clean)
