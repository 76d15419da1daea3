from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks import predict

Figures = Callable[..., list[dict[str, Any]]]


@pytest.mark.benchmark
def test_main__every_variant_computes_the_same(figures: Figures) -> None:
    pytest.importorskip("onnxruntime")
    line = "--images 40 --image-size 64 --repeats 2 --cold 1 --workers 1 --model shufflenet_v2_x0_5"

    rows = {row["variant"]: row for row in figures(predict.main, line)}

    assert list(rows) == [
        "plain script, 32-true", "predict, 32-true", "parts alone, 32-true",
        "plain script, bf16-mixed", "predict, bf16-mixed", "parts alone, bf16-mixed",
        "ONNX Runtime, 32-true", predict.IMPORTS, predict.FIRST,
    ]  # fmt: skip
    assert all(row["seconds"]["least"] > 0 and row["processor s"]["least"] > 0 for row in rows.values())
    assert rows["predict, 32-true"]["largest difference"] < 1e-4
    assert rows["ONNX Runtime, 32-true"]["largest difference"] < 1e-4
    assert rows["predict, bf16-mixed"]["largest difference"] < 1e-2


def test_largest_difference__of_any_class_of_any_picture() -> None:
    first = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32)

    assert predict.largest_difference(first, first + np.float32(0.25) * np.eye(2, dtype=np.float32)) == 0.25
    assert predict.largest_difference(first, None) is None
