"""Rows: large pictures computed some rows at a time, so that values between take little memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 2**22  # values at a time

Values = NDArray[Any]


def by_rows(compute: Callable[[Values], Values], values: Values) -> Values:
    """Return what a function of single values makes of a picture, some rows at a time.

    Args:
        compute: Takes and returns `(H, ...)`; each result depends on one value alone.
        values: The picture, `(H, W)` or `(H, W, 3)`.

    >>> by_rows(lambda rows: rows * 2, np.array([[1, 2], [3, 4]])).tolist()
    [[2, 4], [6, 8]]
    """
    count = max(1, MOST * len(values) // max(values.size, 1))
    first = compute(values[:count])
    if count >= len(values):
        return first
    result = np.empty((len(values), *first.shape[1:]), first.dtype)
    result[:count] = first
    for start in range(count, len(values), count):
        result[start : start + count] = compute(values[start : start + count])
    return result
