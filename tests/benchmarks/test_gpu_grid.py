from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_grid

Figures = Callable[..., list[dict[str, Any]]]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_main__no_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_grid.main([]) == 2
    assert "Expected a CUDA device" in capsys.readouterr().err


def test_row_of__compared_with_the_study(tmp_path: Path) -> None:
    results = {"model": "resnet18", "method": "frozen", "seconds_total": 30.0}
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (tmp_path / "metrics.csv").write_text("seconds/train,seconds/test\n9,9\n0.5,0.159\n", encoding="utf-8")
    row = gpu_grid.row_of(tmp_path)
    assert (row["the study's"], row["s per epoch"]) == (6.59, 0.659)
    assert row["times the study's speed"] == pytest.approx(10)
    last = gpu_grid.total([row, row], 131.8, 100)
    assert last["the study's"] == pytest.approx(1318)
    assert last["times the study's speed"] == pytest.approx(10)
    assert gpu_grid.total([row, {**row, "the study's": None}], 1.0, 100)["the study's"] is None


@pytest.mark.benchmark
def test_main__on_a_cpu(figures: Figures) -> None:
    line = "--trainer cpu --models shufflenet_v2_x1_0 --images 40 --image-size 32 --batch-size 8 --epochs 2"
    rows = figures(gpu_grid.main, line)
    assert [row["method"] for row in rows] == ["finetune", "frozen", "2 epochs each"]
    assert rows[-1]["s of the run"] > max(row["s of the run"] for row in rows[:-1])
