"""Sweep figures: a line for each network, in whole epochs, and no more than can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.reporting.aggregate import RunGroup, group_runs
from brain_tumor_tl.reporting.discover import Run, discover_runs
from brain_tumor_tl.reporting.plots import pixels
from brain_tumor_tl.reporting.sweep_figures import (
    MOST,
    Line,
    by_method,
    curve_lines,
    lines_figure,
    name_of,
    reliability_lines,
)

MakeResults = Callable[..., dict[str, Any]]
PutRun = Callable[..., Path]


def groups_of(*results: dict[str, Any]) -> list[RunGroup]:
    """Return a group for each run."""
    return group_runs([Run(Path(str(i)), content) for i, content in enumerate(results)], lambda content: {})[0]


def test_lines_figure__the_numbers_are_in_it() -> None:
    figure = lines_figure([Line("a", [1, 2, 3], [0.1, 0.2, 0.3]), Line("b", [1, 2], [0.5, 0.4])], "frozen", ("x", "y"))
    (axes,) = figure.axes
    pixels(figure)

    assert [np.asarray(line.get_xydata()).tolist() for line in axes.lines] == [
        [[1, 0.1], [2, 0.2], [3, 0.3]],
        [[1, 0.5], [2, 0.4]],
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    assert all(tick == round(tick) for tick in axes.get_xticks())
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("frozen", "x", "y")


def test_by_method__many_networks_are_the_best_dozen_in_their_order(make_results: MakeResults) -> None:
    runs = [make_results(f"net{number}-frozen-s0", accuracy=number / 20) for number in range(20)]
    groups = groups_of(*runs, make_results("net1-finetune-s0"))

    found = by_method(groups)

    assert set(found) == {"frozen", "finetune"}
    assert len(found["frozen"]) == MOST
    assert {group.model for group in found["frozen"]} == {f"net{number}" for number in range(8, 20)}
    assert found["frozen"] == [group for group in groups if group in found["frozen"]]


def test_curve_lines__the_monitored_split_of_the_runs_that_have_it(tmp_path: Path, put_run: PutRun) -> None:
    rows = "epoch,train/accuracy,test/accuracy\n1,0.5,0.25\n2,0.75,\n3,0.875,0.5\n"
    (put_run(tmp_path, "resnet18-frozen-s0") / "metrics.csv").write_text(rows)
    (put_run(tmp_path, "resnet50-frozen-s0") / "metrics.csv").write_text("epoch,test/accuracy\n1,damaged\n")
    put_run(tmp_path, "vgg16-frozen-s0")
    groups, _ = group_runs(discover_runs([tmp_path]).runs, lambda content: {})

    assert curve_lines(groups) == [Line("resnet18", [1, 3], [0.25, 0.5])]


def test_reliability_lines__bins_with_images_and_their_error(make_results: MakeResults) -> None:
    rows = [
        {"low": 0, "high": 0.5, "images": 0, "right": 0, "confidence": None, "accuracy": None},
        {"low": 0.5, "high": 1, "images": 4, "right": 3, "confidence": 0.85, "accuracy": 0.75},
    ]
    groups = groups_of(make_results(probabilities={"reliability": rows}), make_results("vgg16-frozen-s0"))

    assert reliability_lines(groups) == [Line("resnet18, 10.0 %", [0.85], [0.75])]
    assert [name_of(group) for group in groups] == ["resnet18", "vgg16"]
