"""Suspects: ranked by margin, and only those that are predicted as another class."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies
from hypothesis.extra.numpy import arrays

from brain_tumor_tl.evaluation.suspects import label_margins, rank_label_suspects


@given(strategies.data())
def test_rank_label_suspects__against_a_loop(data: strategies.DataObject) -> None:
    count, classes = data.draw(strategies.integers(1, 12)), data.draw(strategies.integers(2, 4))
    weights = data.draw(arrays(np.float64, (count, classes), elements=strategies.integers(1, 50).map(float)))
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    labels = data.draw(arrays(np.int64, count, elements=strategies.integers(0, classes - 1)))

    found = rank_label_suspects(probabilities, labels).tolist()

    margins = {}
    for image, row in enumerate(probabilities.tolist()):
        rest = [value for label, value in enumerate(row) if label != labels[image]]
        if row[labels[image]] < max(rest):
            margins[image] = row[labels[image]] - max(rest)
    assert found == sorted(margins, key=lambda image: margins[image])
    assert (label_margins(probabilities, labels)[found] < 0).all()


def test_rank_label_suspects__leaves_out_what_is_not_finite() -> None:
    assert rank_label_suspects(np.array([[np.nan, np.nan], [0.9, 0.1]]), np.array([0, 1])).tolist() == [1]
