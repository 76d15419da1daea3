from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import settings

Figures = Callable[..., list[dict[str, Any]]]


@pytest.mark.benchmark
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variants set options of glibc's allocator")
def test_main__variants_compared_with_the_first(figures: Figures) -> None:
    rows = figures(settings.main, "--models shufflenet_v2_x0_5 --image-size 64 --batch-size 4 --steps 2")
    assert [row["variant"] for row in rows][:4] == list(settings.VARIANTS)[:4]
    assert rows[0]["train, times as fast"]["median"] == 1.0
    for row in rows:
        assert row["train s per step"]["repeats"] == row["test s per step"]["repeats"] == 2
        assert row["test, times as fast"]["least"] > 0
        assert row["peak MB"] > 50


def test_row_of__drops_the_first_steps() -> None:
    first = {"seconds": 99.0, "faults": 99.0, "peak": 1.0}
    slow = [first, first, {"seconds": 2.0, "faults": 10.0, "peak": 5.0}, {"seconds": 4.0, "faults": 10.0, "peak": 6.0}]
    fast = [first, first, {"seconds": 1.0, "faults": 0.0, "peak": 7.0}, {"seconds": 1.0, "faults": 2.0, "peak": 7.0}]
    row = settings.row_of("net", "fast", {"train": {"slow": slow, "fast": fast}, "test": {"slow": slow, "fast": slow}})
    assert (row["train, times as fast"].least, row["train, times as fast"].most) == (2.0, 4.0)
    assert row["test, times as fast"].median == 1.0
    assert row["page faults per train step"] == 1.0
    assert row["peak MB"] == 7.0


@pytest.mark.benchmark
def test_server__process_that_ended() -> None:
    options = type("Options", (), {"image_size": 64, "batch_size": 4})
    server = settings.Server("no_such_network", settings.Variant(), options)
    with pytest.raises(RuntimeError, match="has ended"):
        server.step("train")
    server.close()
