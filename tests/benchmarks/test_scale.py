from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import child, scale
from benchmarks.images import known_classes, write_many
from brain_tumor_tl.data.index import read_index

Figures = Callable[..., list[dict[str, Any]]]


def test_write_many__all_differ(tmp_path: Path) -> None:
    write_many(tmp_path / "images", 50, 32, drawings=2)
    index = read_index(tmp_path / "images", known_classes())
    assert len(index) == 50
    assert len(set(index.digests)) == 50
    assert len(index.classes) == 4


def test_row_of__time_per_image() -> None:
    row = scale.row_of(200, "decode", 0.5, child.Finished(seconds=2.0, peak_megabytes=70.0, own_megabytes=60.0))
    assert row == {
        "images": 200, "what": "decode", "µs per image": 2500.0, "s in total": 2.0, "peak MB": 70.0,
        "own peak MB": 60.0,
    }  # fmt: skip


@pytest.mark.benchmark
def test_main__every_row(figures: Figures) -> None:
    line = "--sizes 40 --image-size 32 --batch-size 8 --epochs 1 --set trainer=cpu"
    rows = figures(scale.main, line)
    assert [row["what"] for row in rows] == ["decode", "finetune epoch", "frozen epoch", "frozen features"]
    assert all(row["images"] == 40 and row["peak MB"] > 50 for row in rows)
    for row in rows:
        assert 0 < 40 * row["µs per image"] < 1e6 * row["s in total"], "a part of the process's time"
