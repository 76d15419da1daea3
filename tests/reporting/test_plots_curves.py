"""Plots of curves: ROC, precision-recall and reliability, with the numbers in the figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from brain_tumor_tl.evaluation.curves import precision_recall_points, roc_points
from brain_tumor_tl.evaluation.intervals import wilson_interval
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.reporting.palette import COLOURS
from brain_tumor_tl.reporting.plots import pixels
from brain_tumor_tl.reporting.plots_curves import precision_recall_figure, reliability_figure, roc_figure

BINS: list[dict[str, Any]] = [
    {"low": 0.0, "high": 0.5, "images": 4, "right": 3, "confidence": 0.25, "accuracy": 0.75},
    {"low": 0.5, "high": 0.75, "images": 0, "right": 0, "confidence": None, "accuracy": None},
    {"low": 0.75, "high": 1.0, "images": 4, "right": 4, "confidence": 1.0, "accuracy": 1.0},
]  # fmt: skip


def names(figure: Figure) -> list[str]:
    """Return what the figure's own legend says."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_reliability_figure__points_with_their_intervals() -> None:
    figure = reliability_figure(BINS, None, "a run")
    axes, counts = figure.axes
    (container,) = axes.containers

    assert figure.get_suptitle() == "a run"
    assert names(figure) == ["confidence = accuracy", "as trained, calibration error 0.250"]
    assert isinstance(container, ErrorbarContainer)
    points, _, (bars,) = container.lines
    assert points is not None
    assert np.asarray(points.get_xydata()).tolist() == [[0.25, 0.75], [1.0, 1.0]]
    ends = [[float(y) for _, y in segment] for segment in np.asarray(bars.get_segments())]
    assert ends == [pytest.approx(wilson_interval(3, 4)), pytest.approx(wilson_interval(4, 4))]
    (stairs,) = counts.patches
    assert isinstance(stairs, StepPatch)
    assert [list(values) for values in stairs.get_data()[:2]] == [[4, 0, 4], [0, 0.5, 0.75, 1]]


def test_reliability_figure__beside_what_the_temperature_made_of_it() -> None:
    figure = reliability_figure(BINS, BINS[1:], "a run")

    assert [len(axes.containers) for axes in figure.axes] == [2, 0]
    assert names(figure)[2] == "temperature scaled, calibration error 0.000"


def test_reliability_figure__diverged_run() -> None:
    figure = reliability_figure([], None, "a run")

    assert names(figure) == ["confidence = accuracy", "as trained"]
    assert pixels(figure).shape == (680, 560, 3)


def outputs(classes: int, without: int = 0) -> tuple[Any, Any, list[str]]:
    """Return labels and probabilities of 200 images, and names of classes, the last of them without images."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes - without, 200)
    logits = generator.normal(size=(200, classes))
    logits[np.arange(200), labels] += np.linspace(0.5, 3, classes)[labels]
    return labels, softmax(logits), [f"class_{place}" for place in range(classes)]


def curves(figure: Figure) -> dict[str, Any]:
    """Return the points of each line by what the legend says of it."""
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in figure.axes[0].lines}


def test_roc_figure__a_curve_for_each_class_with_its_area() -> None:
    labels, probabilities, classes = outputs(4)
    drawn = curves(roc_figure(labels, probabilities, classes, "a run"))

    assert [name.partition(",")[0] for name in drawn] == ["chance", *classes]
    for place, (name, points) in enumerate(list(drawn.items())[1:]):
        expected = np.stack(roc_points(probabilities[:, place], labels == place), 1)
        assert np.array_equal(points, expected)
        assert name.endswith(f"AUROC {np.trapezoid(expected[:, 1], expected[:, 0]):.3f}")


def test_precision_recall_figure__steps_of_each_class() -> None:
    labels, probabilities, classes = outputs(4)
    figure = precision_recall_figure(labels, probabilities, classes, "a run")

    assert {line.get_drawstyle() for line in figure.axes[0].lines} == {"steps-pre"}
    for place, (name, points) in enumerate(curves(figure).items()):
        recall, precision = precision_recall_points(probabilities[:, place], labels == place)
        assert np.array_equal(points[1:], np.stack([recall, precision], 1))
        assert points[0].tolist() == [0, precision[0]]
        assert name.startswith(f"class_{place}, average precision 0.")


@pytest.mark.parametrize("draw", [roc_figure, precision_recall_figure])
def test_figures__a_class_without_images_is_named(draw: Any) -> None:
    figure = draw(*outputs(4, without=1), "a run")

    assert list(curves(figure))[-1] == "no curve: class_3"
    assert pixels(figure).shape == (640, 560, 3)


@pytest.mark.parametrize("draw", [roc_figure, precision_recall_figure])
def test_figures__of_many_classes_the_worst_are_in_colour(draw: Any) -> None:
    figure = draw(*outputs(12), "a run")
    coloured = {str(line.get_label()).partition(",")[0] for line in figure.axes[0].lines if line.get_color() in COLOURS}

    assert len(coloured) == len(COLOURS)
    assert {"class_0", "class_1"} <= coloured
    assert "class_11" not in coloured
    assert names(figure)[1 if draw is roc_figure else 0].startswith(f"{12 - len(COLOURS)} classes with a larger")


@pytest.mark.parametrize("draw", [roc_figure, precision_recall_figure])
def test_figures__of_a_diverged_run(draw: Any) -> None:
    labels, probabilities, classes = outputs(3)
    figure = draw(labels, np.full_like(probabilities, np.nan), classes, "a run")

    assert names(figure)[-1] == "no curve: class_0, class_1, class_2"
