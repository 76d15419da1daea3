"""Split: positions and names by code, and the rows of split.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.splits.split import Split, round_half_up, split_rows


def test_split__positions_and_names() -> None:
    split = Split(np.array([0, 2, 2, 0, 1, -1]))

    assert split.names() == ["train", "test", "test", "train", "val", "left_out"]
    assert (split.train.tolist(), split.val.tolist(), split.test.tolist()) == ([0, 3], [4], [1, 2])
    assert split.left_out.tolist() == [5]
    assert len(split) == 6


@pytest.fixture
def index() -> Index:
    paths = ("Training/b (2).png", "Training/b (10).png", "x.png")
    return Index(Path("set"), paths, np.array([1, 1, 0]), ("a", "b"), ("", "", ""), ("1", "2", "3"))


def test_split_rows__as_in_split_csv(index: Index) -> None:
    rows = split_rows(index, ["train", "test", "left_out"], group=np.array([0, 0, 1]), patient=None)

    assert rows == [
        {"path": "Training/b (2).png", "label": 1, "class": "b", "split": "train", "group": 0},
        {"path": "Training/b (10).png", "label": 1, "class": "b", "split": "test", "group": 0},
        {"path": "x.png", "label": 0, "class": "a", "split": "left_out", "group": 1},
    ]


def test_split_rows__one_split_for_each_image(index: Index) -> None:
    with pytest.raises(ValueError, match="shorter"):
        split_rows(index, ["train"] * 2)


HALVES = [(652.8, 653), (0.5, 1), (1.5, 2), (2.5, 3), (2.4, 2), (0.49, 0), (0.0, 0)]


@pytest.mark.parametrize(("value", "expected"), HALVES, ids=[str(value) for value, _ in HALVES])
def test_round_half_up__case(value: float, expected: int) -> None:
    assert round_half_up(value) == expected
