from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scale
from benchmarks.images import known_classes, write_many
from brain_tumor_tl.data.index import read_index

Figures = Callable[..., list[dict[str, Any]]]


def test_write_many__no_two_alike(tmp_path: Path) -> None:
    write_many(tmp_path / "images", 50, 32, drawings=2)
    index = read_index(tmp_path / "images", known_classes())
    assert len(index) == 50
    assert len(set(index.digests)) == 50
    assert len(index.classes) == 4


@pytest.mark.slow
def test_main__every_row(figures: Figures) -> None:
    line = "--sizes 40 --image-size 32 --batch-size 8 --epochs 1 --set trainer=cpu"
    rows = figures(scale.main, line)
    assert [row["what"] for row in rows] == ["decode", "finetune epoch", "frozen epoch", "frozen features"]
    assert all(row["images"] == 40 and row["microseconds an image"] > 0 and row["peak MB"] > 50 for row in rows)
