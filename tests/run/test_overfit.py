"""Overfit: few training images, and whether they were learnt by heart."""

from __future__ import annotations

import numpy as np
import pytest

from brain_tumor_tl.data.splits.split import LEFT_OUT, TEST, TRAIN, Split
from brain_tumor_tl.run.overfit import few_images, tell_whether_learnt


def test_few_images__of_the_training_split_alone() -> None:
    split = Split(np.array([TRAIN, TEST] * 20 + [LEFT_OUT]))
    few, again, other = (few_images(split, 8, seed) for seed in (0, 0, 1))
    assert len(few.train) == 8
    assert set(few.train) < set(split.train)
    assert len(split.train) == 20
    np.testing.assert_array_equal(few.test, split.test)
    assert len(few.left_out) == 13
    np.testing.assert_array_equal(few.codes, again.codes)
    assert set(few.train) != set(other.train)
    np.testing.assert_array_equal(few_images(split, 100, 0).codes, split.codes)


@pytest.mark.parametrize(("accuracies", "match"), [([0.5, 1.0, 0.9], "yes: 100% of the 8 images .*epoch 2"),
                                                   ([0.5, 0.9], "no: 90% of the 8 images after 2 epochs")])  # fmt: skip
def test_tell_whether_learnt(accuracies: list[float], match: str, messages: list[str]) -> None:
    import re

    tell_whether_learnt([{"epoch": n + 1, "train/accuracy": value} for n, value in enumerate(accuracies)], 8)
    assert re.search(match, messages[-1])
