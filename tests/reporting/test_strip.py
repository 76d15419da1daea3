"""Strip: each image stands where it should, with its own name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.reporting.strip import GAP, NAME, strip

SIZE = 6
THUMBNAILS = np.arange(12, dtype=np.uint8)[:, None, None] * np.ones((1, SIZE, SIZE), dtype=np.uint8)


def pixels(png: bytes) -> NDArray[np.uint8]:
    """Return the grey values of a PNG file."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (8, 1, 8), (9, 2, 8), (12, 2, 8)])
def test_strip__eight_in_a_row(count: int, rows: int, columns: int) -> None:
    picture = strip(THUMBNAILS[:count], "alt", "caption")
    found = pixels(picture.content)

    step = SIZE + GAP
    assert found.shape == (rows * step - GAP, columns * step - GAP)
    for i in range(count):
        top, left = i // 8 * step, i % 8 * step
        assert (found[top : top + SIZE, left : left + SIZE] == i).all()
    assert (found == 255).sum() == found.size - count * SIZE * SIZE
    assert (picture.alt, picture.caption) == ("alt", "caption")


def test_strip__a_name_below_each() -> None:
    plain, named = (pixels(strip(THUMBNAILS[:9] * 0, "alt", names=names).content) for names in ((), ["a"] * 8 + ["b"]))

    assert named.shape[0] == plain.shape[0] + 2 * NAME
    below = named[SIZE : SIZE + NAME]
    assert (below[:, :SIZE] < 255).any()
    assert np.array_equal(below[:, :SIZE], below[:, SIZE + GAP :][:, :SIZE])
    assert not np.array_equal(below[:, :SIZE], named[2 * SIZE + NAME + GAP :, :SIZE][:NAME])
