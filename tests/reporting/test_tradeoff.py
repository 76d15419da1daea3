"""Trade-off: the right points, told apart without colour, and names that cover nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.text import Annotation, Text

from brain_tumor_tl.reporting.aggregate import Group, group_runs
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.study import table1
from brain_tumor_tl.reporting.tradeoff import Point, overlap, points, tradeoff_figure

MakeResults = Callable[..., dict[str, Any]]


def groups_of(*results: dict[str, Any]) -> list[Group]:
    """Return the groups of some runs that differ in model, method and seed alone."""
    runs = [Run(Path(str(i)), content) for i, content in enumerate(results)]
    return group_runs(runs, lambda content: {})[0]


def grid() -> list[Point]:
    """Return the study's points, and made-up ones a tenth as slow and half a point better."""
    found = []
    for (model, method), row in table1().items():
        seconds, accuracy = row["seconds_per_epoch"], 100 * row["accuracy"]
        found.append(Point(model, method, seconds, accuracy, 0, True))
        found.append(Point(model, method, seconds / 10, accuracy + 0.5, 0.4, False))
    return found


def names(axes: Axes) -> list[Annotation]:
    """Return the names that stand in a plot."""
    return [text for text in axes.texts if isinstance(text, Annotation)]


def test_points__ours_and_the_study(make_results: MakeResults) -> None:
    seeds = [make_results(f"resnet18-frozen-s{i}", a) for i, a in enumerate((0.9, 0.92))]
    ours, study = points(groups_of(*seeds))

    assert (ours.label, ours.seconds, ours.study) == ("resnet18", 1.5, False)
    assert ours.percent == pytest.approx(91)
    assert ours.std == pytest.approx(1.4142, abs=1e-4)
    assert (study.label, study.seconds, study.study) == ("resnet18", 6.59, True)
    assert study.percent == pytest.approx(89.13)


def test_points__no_study_beside_synthetic_images_and_none_without_seconds(make_results: MakeResults) -> None:
    groups = groups_of(
        make_results("resnet18-frozen-s0", synthetic=True),
        make_results("vgg16-frozen-s0", synthetic=True, seconds_per_epoch={"train": None}),
    )

    assert [(point.label, point.study) for point in points(groups)] == [("resnet18", False)]


def test_points__a_plot_for_each_set_of_settings(make_results: MakeResults) -> None:
    def found(rates: int) -> list[Point]:
        results = [make_results("resnet18-frozen-s0", config={"optimizer": {"lr": rate}}) for rate in range(rates)]
        runs = [Run(Path(str(i)), content) for i, content in enumerate(results)]
        return points(group_runs(runs, lambda content: {"optimizer.lr": content["config"]["optimizer"]["lr"]})[0])

    assert [(point.panel, point.label, point.study) for point in found(2)] == [
        ("frozen, set 1", "resnet18", False), ("frozen, set 2", "resnet18", False),
        ("frozen, set 1", "resnet18", True), ("frozen, set 2", "resnet18", True),
    ]  # fmt: skip
    assert {(point.panel, point.label) for point in found(13)} == {("frozen", "")}


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_tradeoff_figure__names_cover_neither_each_other_nor_the_edge(method: str) -> None:
    figure = tradeoff_figure(grid(), method)
    figure.draw_without_rendering()
    (axes,) = figure.axes

    boxes = [Text.get_window_extent(text) for text in names(axes)]  # without the line to the marker
    assert sorted(text.get_text() for text in names(axes)) == sorted([model for model, _ in table1()])
    assert sum(overlap(one, other) for one, other in itertools.combinations(boxes, 2)) == 0
    assert sum(box.width * box.height - overlap(box, axes.get_window_extent()) for box in boxes) < 1


def test_tradeoff_figure__shapes_and_fill_tell_the_study_apart() -> None:
    figure = tradeoff_figure(grid(), "frozen")
    (axes,) = figure.axes

    containers: list[Any] = list(axes.containers)
    marks = {container.get_label(): container.lines[0] for container in containers}
    assert set(marks) == {"these runs", "the study"}
    assert (marks["these runs"].get_marker(), marks["the study"].get_marker()) == ("o", "s")
    assert marks["the study"].get_markerfacecolor() == "none"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["these runs", "the study"]


def test_tradeoff_figure__same_axes_for_every_method() -> None:
    limits = [(*figure.axes[0].get_xlim(), *figure.axes[0].get_ylim())
              for figure in (tradeoff_figure(grid(), "frozen"), tradeoff_figure(grid(), "finetune"))]  # fmt: skip

    assert limits[0] == limits[1]


def test_tradeoff_figure__one_point() -> None:
    figure = tradeoff_figure([Point("resnet18", "frozen", 1.0, 50.0, 0, False)], "frozen", "SYNTHETIC images")

    assert figure.axes[0].get_title() == "frozen, SYNTHETIC images"
