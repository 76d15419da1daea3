"""ROC and precision-recall curves against scikit-learn, and against the areas of `ranking`."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from brain_tumor_tl.evaluation.curves import precision_recall_points, roc_points
from brain_tumor_tl.evaluation.ranking import auroc, average_precision


@pytest.fixture(params=["many-scores", "many-ties"])
def scored(request: pytest.FixtureRequest) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of 200 images, and which are positive."""
    generator = np.random.default_rng(0)
    positive = generator.random(200) < 0.3
    scores = generator.normal(size=200) + positive
    return (scores if request.param == "many-scores" else scores.round()), positive


def test_roc_points__of_scikit_learn_and_with_the_area_of_auroc(
    scored: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    scores, positive = scored
    false, true = roc_points(scores, positive)
    expected_false, expected_true, _ = sk.roc_curve(positive, scores, drop_intermediate=False)

    assert np.allclose(false, expected_false)
    assert np.allclose(true, expected_true)
    assert np.trapezoid(true, false) == pytest.approx(float(auroc(scores, positive)[0]), abs=1e-12)


def test_precision_recall_points__of_scikit_learn_and_with_the_area_of_average_precision(
    scored: tuple[NDArray[np.float64], NDArray[np.bool_]],
) -> None:
    scores, positive = scored
    recall, precision = precision_recall_points(scores, positive)
    expected_precision, expected_recall, _ = sk.precision_recall_curve(positive, scores)

    assert np.allclose(recall, expected_recall[-2::-1])  # scikit-learn ascends, and adds the point (0, 1)
    assert np.allclose(precision, expected_precision[-2::-1])
    area = (np.diff(recall, prepend=0) * precision).sum()
    assert area == pytest.approx(average_precision(scores, positive), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "positive", "empty"),
    [([0.1, 0.2], [False, False], 2), ([0.1, 0.2], [True, True], 1), ([0.1, np.nan], [True, False], 2)],
    ids=["no-positive", "no-negative", "not-finite"],
)
def test_points__empty_where_there_is_no_curve(scores: list[float], positive: list[bool], empty: int) -> None:
    found = [points(np.array(scores), np.array(positive)) for points in (roc_points, precision_recall_points)]

    assert sum(len(x) == len(y) == 0 for x, y in found) == empty
