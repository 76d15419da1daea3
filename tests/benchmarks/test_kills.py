from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import kills, measure

Figures = Callable[..., list[dict[str, Any]]]


@pytest.mark.benchmark
def test_main__killed_runs_are_equal(figures: Figures) -> None:
    rows = figures(kills.main, "--kills 2 --methods frozen --recipes onecycle --epochs 3")
    assert [(row["validation"], row["kills"], row["equal"], row["differ in"]) for row in rows] == [
        ("val", 2, 2, ""),
        ("none", 2, 2, ""),
    ]


def test_row_of__counts_runs_that_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = iter(["", "metrics.csv", "", "last.ckpt"])
    monkeypatch.setattr(kills, "run", lambda *_, **__: 1.0)
    monkeypatch.setattr(kills, "difference", lambda *_: next(found))
    for name in ("whole", "again"):
        (tmp_path / name).mkdir()
    options = measure.options(
        "Kills", [], ("kills", 3, ""), ("seed", 0, ""), images=4, image_size=32, batch_size=8, epochs=5, model="a"
    )
    row = kills.row_of(options, tmp_path, tmp_path, "frozen", "study", "none")
    assert (row["kills"], row["equal"], row["differ in"]) == (3, 1, "last.ckpt; metrics.csv")


@pytest.mark.parametrize(
    ("second", "equal"),
    [
        ({"a": [torch.ones(2), 1]}, True),
        ({"a": [torch.ones(2) + 1e-7, 1]}, False),
        ({"a": [torch.ones(2), 2]}, False),
        ({"a": [torch.ones(2)]}, False),
        ({"b": [torch.ones(2), 1]}, False),
    ],
)
def test_same__to_the_bit(second: Any, equal: bool) -> None:
    assert kills.same({"a": [torch.ones(2), 1]}, second) == equal


def test_lasting__leaves_out_time_and_place() -> None:
    content = {
        "accuracy": 0.5,
        "seconds_total": 3,
        "per_class": [{"f1": 1, "seconds": 2}],
        "config": {},
        "features": {},
    }
    assert kills.lasting(content) == {"accuracy": 0.5, "per_class": [{"f1": 1}]}
