"""Overlay: what stands beside the image under its map."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from brain_tumor_tl.inference.explain import Explanation
from brain_tumor_tl.inference.overlay import COLUMNS, GAP, SIDE, overlay_sheet, sized


def corner_map(size: int = 8) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a map that is 2 at the top right, and -1 elsewhere."""
    values = np.full((size, size), -1, np.float32)
    values[: size // 4, -size // 4 :] = 2
    return values


def explanation(classes: tuple[str, ...] = ("glioma_tumor",)) -> Explanation:
    maps = np.stack([corner_map() / np.float32(place + 1) for place in range(len(classes))])
    pixels = np.full((1, 8, 8), 90, np.uint8)
    return Explanation(pixels, classes[0], classes, (0.5,) * len(classes), maps)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 2, 1), (4, 5, 1), (11, 5, 3)])
def test_overlay_sheet__panels_in_rows(count: int, columns: int, rows: int) -> None:
    names = tuple(f"class {number}" for number in range(count))

    sheet = np.asarray(overlay_sheet(explanation(names), title="a.png")).astype(int)

    assert columns <= COLUMNS
    assert sheet.shape[1] > columns * (SIDE + GAP)
    assert rows * SIDE < sheet.shape[0] < rows * (SIDE + 50)
    assert (sheet[:SIDE, :SIDE] == 90).all()  # the image as it is
    panel = sheet[:SIDE, SIDE + GAP : 2 * SIDE + GAP]
    assert (panel[SIDE // 2 :] == 90).all()
    assert (panel[:40, -40:] != 90).any()
    assert (sheet[SIDE:, : SIDE + 1] < 128).any()  # letters below


def test_overlay_sheet__keeps_the_shape_of_the_picture() -> None:
    wide = Image.new("L", (900, 450), 50)

    sheet = overlay_sheet(explanation(), wide)

    assert sized(wide).size == (SIDE, SIDE // 2)
    assert sheet.height < SIDE * 0.6
