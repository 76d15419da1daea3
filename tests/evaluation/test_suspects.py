"""Suspects: ranked by margin within their label, and only those that are predicted as another class."""

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

    margins = []
    for row, own in zip(probabilities.tolist(), labels.tolist(), strict=True):
        margins.append(row[own] - max(value for label, value in enumerate(row) if label != own))
    places = []
    for image, label in enumerate(labels.tolist()):
        same = sorted((margins[other], other) for other in range(count) if labels[other] == label)
        places.append(same.index((margins[image], image)) / len(same))
    wrong = [image for image in range(count) if margins[image] < 0]
    assert found == sorted(wrong, key=lambda image: (places[image], margins[image]))
    assert (label_margins(probabilities, labels)[found] < 0).all()


def test_rank_label_suspects__a_hard_class_does_not_hide_an_easy_one() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    of_label = np.array([0.01] * 10 + [0.3] + [0.9] * 9)  # every image of class 0 is contradicted with certainty
    probabilities = np.where(labels[:, None] == [0, 1], of_label[:, None], 1 - of_label[:, None])

    assert rank_label_suspects(probabilities, labels).tolist()[:3] == [0, 10, 1]


def test_rank_label_suspects__leaves_out_what_is_not_finite() -> None:
    assert rank_label_suspects(np.array([[np.nan, np.nan], [0.9, 0.1]]), np.array([0, 1])).tolist() == [1]
