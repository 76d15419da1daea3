"""Depth: runs by the share of layers that learn, in a table and a plot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_tumor_tl.reporting.aggregate import RunGroup, group_runs
from brain_tumor_tl.reporting.depth import depth_table, depths
from brain_tumor_tl.reporting.depth_figure import depth_figure
from brain_tumor_tl.reporting.discover import Run

MakeResults = Callable[..., dict[str, Any]]
PLACES = {"head": 0.0, "layer4": 0.25, "layer3": 0.5, "all": 1.0}


def sweep(make_results: MakeResults, *places: str) -> list[RunGroup]:
    """Return the groups of runs that begin to learn at some places, more accurate the more layers learn."""
    runs = []
    for number, place in enumerate(places):
        results = make_results("resnet18-partial-s0", 0.9 + PLACES[place] / 20)
        results["learning"] = {"from": place, "layers": PLACES[place], "parameters": 1000 * (number + 1)}
        results["config"].setdefault("method", {})["train_from"] = place
        runs.append(Run(Path(str(number)), results))
    return group_runs(runs, lambda content: {"method.train_from": content["learning"]["from"]})[0]


def test_depths__by_share_and_not_of_two(make_results: MakeResults) -> None:
    assert depths(sweep(make_results, "all", "head")) == {}
    found = depths(sweep(make_results, "all", "head", "layer3", "layer4"))
    assert [depth.place for depth in found["resnet18"]] == ["head", "layer4", "layer3", "all"]


def test_depths__none_of_runs_of_earlier_versions(make_results: MakeResults) -> None:
    runs = [Run(Path(str(i)), make_results(f"resnet18-frozen-s{i}")) for i in range(3)]
    assert depths(group_runs(runs, lambda content: {})[0]) == {}


def test_depths__of_other_settings_are_no_points_of_the_same_line(make_results: MakeResults) -> None:
    runs = []
    for place in PLACES:
        for split in ("random", "grouped"):
            results = make_results("resnet18-partial-s0", 0.9)
            results["learning"] = {"from": place, "layers": PLACES[place], "parameters": 1000}
            runs.append(Run(Path(f"{place}-{split}"), results | {"of_split": split}))
    groups = group_runs(runs, lambda one: {"method.train_from": one["learning"]["from"], "data.split": one["of_split"]})
    assert {title: len(found) for title, found in depths(groups[0]).items()} == {
        "resnet18, data.split=random": 4,
        "resnet18, data.split=grouped": 4,
    }


def test_depth_table(make_results: MakeResults) -> None:
    table = depth_table(depths(sweep(make_results, "head", "layer4", "all"))["resnet18"])
    assert table.title == "resnet18: how deep to transfer"
    assert [row[:3] for row in table.rows] == [
        ("0", "head", "90.00"),
        ("25", "layer4", "91.25"),
        ("100", "all", "95.00"),
    ]
    assert all(len(row) == len(table.headers) for row in table.rows)


def test_depth_figure__shares_and_accuracies_in_percent(make_results: MakeResults) -> None:
    figure = depth_figure(depths(sweep(make_results, "head", "layer4", "all"))["resnet18"], ", SYNTHETIC images")
    accuracy, time = figure.axes
    line = accuracy.containers[0].lines[0]  # type: ignore[attr-defined]
    assert list(line.get_xdata()) == [0, 25, 100]
    assert list(line.get_ydata()) == pytest.approx([90, 91.25, 95])
    assert accuracy.get_title() == "resnet18, SYNTHETIC images"
    assert np.shape(time.lines[0].get_xdata()) == (3,)
