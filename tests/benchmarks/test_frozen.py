from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks import frozen

Figures = Callable[..., list[dict[str, Any]]]


def test_rows_of__comparisons() -> None:
    given = {
        "cold": [60.0], "warm": [20.0], "short": [11.0], "uncached": [600.0], "forward": [50.0],
        "counted epoch": [0.05], "plain epoch": [0.05],
    }  # fmt: skip
    rows = frozen.rows_of(given, argparse.Namespace(epochs=100, short_epochs=10))
    texts = {row["what"]: (row["seconds"].median, row["compared"]) for row in rows}
    assert texts["100 epochs, cold"] == (60.0, "0.75 of 1.3 forward passes + 15 s")
    assert texts["100 epochs, warm"] == (20.0, "0.333 times the cold run")
    assert texts["100 epochs, uncached, PROJECTION"] == (600.0, "10 times the cold run")
    assert texts["a warm epoch, all of it"] == (pytest.approx(0.1), "2 times the plain loop")


def test_plain_head__trains() -> None:
    options = argparse.Namespace(model="shufflenet_v2_x0_5", image_size=32, batch_size=8)
    plain = frozen.PlainHead(options, train=20, test=8, device=torch.device("cpu"))
    weight = plain.loop.network.weight
    assert isinstance(weight, torch.Tensor)
    before = weight.detach().clone()
    assert plain.features.shape == (28, 1024)
    assert plain.epoch() > 0
    assert not torch.equal(weight, before)


def test_main__short_run_must_be_shorter() -> None:
    with pytest.raises(SystemExit, match="fewer --short-epochs than --epochs"):
        frozen.main(["--epochs", "5", "--short-epochs", "5"])


@pytest.mark.benchmark
def test_main__every_row(figures: Figures) -> None:
    line = "--model shufflenet_v2_x0_5 --images 40 --image-size 32 --batch-size 8 --epochs 3 --short-epochs 1"
    rows = figures(frozen.main, f"{line} --repeats 1 --set trainer=cpu")
    assert [row["what"].split(",")[0] for row in rows[:4]] == ["3 epochs", "3 epochs", "3 epochs", "1 epochs"]
    assert len(rows) == 8
    assert all(row["seconds"]["median"] > 0 for row in rows if row["what"] != "a warm epoch, all of it")
