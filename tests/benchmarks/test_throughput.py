from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import throughput

Figures = Callable[..., list[dict[str, Any]]]


def test_main__ratio_of_each_turn(figures: Figures) -> None:
    line = "--models shufflenet_v2_x0_5 --images 40 --image-size 32 --batch-size 8 --epochs 3 --set trainer=cpu"
    (row,) = figures(throughput.main, line)
    for column in ("train ratio", "test ratio", "whole epoch ratio"):
        assert row[column]["repeats"] == 2, "the first epoch has no turn"
        assert 0 < row[column]["least"] <= row[column]["median"] <= row[column]["most"]
    assert row["train images/s"] > 0
    assert row["test raw images/s"] > 0


def test_main__needs_two_epochs() -> None:
    with pytest.raises(SystemExit, match="at least 2 --epochs"):
        throughput.main(["--epochs", "1"])


def test_row_of__speeds_and_ratios(tmp_path: Any) -> None:
    turns = throughput.Turns("net", tmp_path, (3, 8, 8), 8, graphed=False)
    turns.sizes = {"train": [8, 2], "test": [5]}
    turns.raw = [{"train": 1.0, "test": 0.5}, {"train": 2.0, "test": 1.0}]  # part of the seconds of metrics.csv
    turns.whole = [99.0, 3.0, 4.0]
    rows = [{"seconds/train": 3.0, "seconds/test": 1.0}, {"seconds/train": 4.0, "seconds/test": 5.0}]
    row = throughput.row_of("net", turns, rows)
    assert row["train images/s"] == 5.0
    assert row["test raw images/s"] == 5.0 / 0.75
    assert (row["train ratio"].least, row["train ratio"].most) == (0.5, 1.0)
    assert (row["test ratio"].least, row["test ratio"].most) == (0.25, 1.0)
    assert (row["whole epoch ratio"].least, row["whole epoch ratio"].most) == (0.5, 0.75)
