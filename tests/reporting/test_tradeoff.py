"""Trade-off: the right points; shape and fill tell them apart without colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from matplotlib.axes import Axes

from brain_tumor_tl.reporting.aggregate import RunGroup, group_runs
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.study import table1
from brain_tumor_tl.reporting.tradeoff import Point, points, tradeoff_figure

MakeResults = Callable[..., dict[str, Any]]


def groups_of(*results: dict[str, Any]) -> list[RunGroup]:
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


def markers(axes: Axes) -> dict[tuple[float, float], tuple[str, bool]]:
    """Return each point's shape, and whether it is filled, by place."""
    lines = [container.lines[0] for container in cast("list[Any]", axes.containers)]
    return {
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])): (line.get_marker(), line.get_fillstyle() == "full")
        for line in lines
    }


def test_points__ours_and_the_study(make_results: MakeResults) -> None:
    seeds = [make_results(f"resnet18-frozen-s{i}", a) for i, a in enumerate((0.9, 0.92))]
    ours, study = points(groups_of(*seeds))

    assert (ours.model, ours.seconds, ours.study) == ("resnet18", 1.5, False)
    assert ours.percent == pytest.approx(91)
    assert ours.std == pytest.approx(1.4142, abs=1e-4)
    assert (study.model, study.seconds, study.study) == ("resnet18", 6.59, True)
    assert study.percent == pytest.approx(89.13)


def test_points__no_study_beside_synthetic_images_and_none_without_seconds(make_results: MakeResults) -> None:
    groups = groups_of(
        make_results("resnet18-frozen-s0", synthetic=True),
        make_results("vgg16-frozen-s0", synthetic=True, seconds_per_epoch={"train": None}),
    )

    assert [(point.model, point.study) for point in points(groups)] == [("resnet18", False)]


def test_points__a_plot_for_each_set_of_settings(make_results: MakeResults) -> None:
    def found(rates: int) -> list[Point]:
        results = [make_results("resnet18-frozen-s0", config={"optimizer": {"lr": rate}}) for rate in range(rates)]
        runs = [Run(Path(str(i)), content) for i, content in enumerate(results)]
        return points(group_runs(runs, lambda content: {"optimizer.lr": content["config"]["optimizer"]["lr"]})[0])

    assert [(point.panel, point.model, point.study) for point in found(2)] == [
        ("frozen, set 1", "resnet18", False), ("frozen, set 2", "resnet18", False),
        ("frozen, set 1", "resnet18", True), ("frozen, set 2", "resnet18", True),
    ]  # fmt: skip
    assert {(point.panel, point.model) for point in found(13)} == {("frozen", "resnet18")}


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_tradeoff_figure__a_shape_for_each_network_hollow_for_the_study(method: str) -> None:
    figure = tradeoff_figure(grid(), method)
    found = markers(figure.axes[0])
    (legend,) = figure.legends
    shapes = {line.get_label(): line.get_marker() for line in legend.get_lines()}

    own = [point for point in grid() if point.panel == method]
    assert len(own) == len(found) == 14
    for point in own:
        assert found[point.seconds, point.percent] == (shapes[point.model], not point.study)
    networks = list(dict.fromkeys(model for model, _ in table1()))
    assert list(shapes) == [*networks, "the study (hollow)", "these runs (filled)"]
    assert len({shapes[name] for name in networks}) == len(networks)


def test_tradeoff_figure__many_networks() -> None:
    drawn = [Point(f"network{i}", "frozen", 1.0 + i, 50.0, 0, False) for i in range(80)]
    figure = tradeoff_figure(drawn, "frozen")
    figure.draw_without_rendering()

    styles = {(line.get_marker(), line.get_color()) for line in figure.legends[0].get_lines()[:80]}
    assert len(styles) == 80
    assert figure.legends[0].get_window_extent().y1 < figure.axes[0].get_window_extent().y0
    assert figure.legends[0].get_window_extent().y0 >= 0


def test_tradeoff_figure__same_axes_for_every_method() -> None:
    limits = [(*figure.axes[0].get_xlim(), *figure.axes[0].get_ylim())
              for figure in (tradeoff_figure(grid(), "frozen"), tradeoff_figure(grid(), "finetune"))]  # fmt: skip

    assert limits[0] == limits[1]


def test_tradeoff_figure__one_point() -> None:
    figure = tradeoff_figure([Point("resnet18", "frozen", 1.0, 50.0, 0, False)], "frozen", ", SYNTHETIC images")

    assert figure.axes[0].get_title() == "frozen, SYNTHETIC images"
