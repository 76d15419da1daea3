from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import depth
from benchmarks.child import Finished

Figures = Callable[..., list[dict[str, Any]]]


def test_rows_of__compared_with_the_last_cut() -> None:
    def run(seconds: float, epoch: float, share: float) -> depth.Measured:
        results = {"features": {}, "learning": {"layers": share}, "epochs": 3, "accuracy": 0.9}
        return depth.Measured(Finished(seconds, 200.0, 100.0), epoch, results)

    rows = depth.rows_of({"0.5": [run(10.0, 1.0, 0.5)], "0": [run(40.0, 5.0, 1.0)]}, "0")
    assert [row["layers that learn"] for row in rows] == ["50%", "100%"]
    assert [row["of its epoch"].median for row in rows] == [0.2, 1.0]
    assert [row["of its run"].median for row in rows] == [0.25, 1.0]


@pytest.mark.benchmark
def test_main__every_row(figures: Figures) -> None:
    line = "--model shufflenet_v2_x0_5 --images 40 --image-size 32 --epochs 2 --cuts stage3 0 --again 1"
    rows = figures(depth.main, f"{line} --set trainer=cpu data.batch_size=8")
    assert [row["from"] for row in rows] == ["stage3", "0", "stage3, again"]
    assert rows[0]["keeping, s"]["median"] > 0 == rows[1]["keeping, s"]["median"]
