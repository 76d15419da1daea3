from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import images, start

Figures = Callable[..., list[dict[str, Any]]]
ROWS = [*start.IMPORTS, "train --help", "frozen, to its first step", "finetune, to its first step"]


@pytest.mark.benchmark
def test_measurements_of__runs_end_at_their_first_step(tmp_path: Path) -> None:
    options = argparse.Namespace(
        model="shufflenet_v2_x0_5", image_size=32, methods=["frozen", "finetune"], set=["trainer=cpu"]
    )
    root = images.provided(None, 40, 32, tmp_path)
    measurements = start.measurements_of(options, root, tmp_path)

    assert list(measurements) == ROWS
    for method in options.methods:
        left = {path.name for path in (tmp_path / f"run-{method}").iterdir()}
        assert "split.csv" in left, "it has set up its data"
        assert not left & {"metrics.csv", "results.json"}, "no epoch ended"


def test_main__a_row_for_each_measurement(figures: Figures, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([1.0, 10.0, 3.0, 30.0])
    stubs = {name: lambda: next(seconds) for name in ("imports", "run")}
    monkeypatch.setattr(start, "measurements_of", lambda options, root, work: stubs)
    rows = figures(start.main, "--images 4 --image-size 32 --repeats 2")
    assert [(row["what"], row["seconds"]["least"], row["seconds"]["most"]) for row in rows] == [
        ("imports", 1.0, 3.0), ("run", 10.0, 30.0),
    ]  # fmt: skip


def test_until_first_step__ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("benchmarks.start.os._exit", ended.append)
    start.EndAtFirstStep().on_train_batch_start(None, None, None, 0)  # type: ignore[arg-type]
    assert ended == [0]


def test_until_first_step__a_run_without_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "run_train", lambda arguments: None)
    with pytest.raises(RuntimeError, match="Expected a training step"):
        start.until_first_step([])
