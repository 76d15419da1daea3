"""Rows: what is computed some rows at a time is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from brain_tumor_tl.data import rows
from brain_tumor_tl.data.decode import to_bytes
from brain_tumor_tl.data.rows import by_rows


@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (1, 40), (40, 1), (0, 5)])
def test_by_rows__same_as_at_once(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    whole, seen = np.exp(values).astype(np.float32), []
    monkeypatch.setattr(rows, "MOST", 12)

    def compute(block: NDArray[Any]) -> NDArray[Any]:
        seen.append(block.size)
        result: NDArray[Any] = np.exp(block).astype(np.float32)
        return result

    assert np.array_equal(by_rows(compute, values), whole)
    assert sum(seen) == values.size
    assert max(seen) <= max(12, values[:1].size)


def test_to_bytes__same_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(50, 30)) * 1000
    at_once = to_bytes(values)
    monkeypatch.setattr(rows, "MOST", 64)

    assert np.array_equal(to_bytes(values), at_once)
