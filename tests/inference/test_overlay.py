"""Overlay: colours where the map is, the image as it was elsewhere, and what stands beside it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageFont

from brain_tumor_tl.inference.explain import Explanation
from brain_tumor_tl.inference.overlay import (
    COLUMNS,
    GAP,
    OPACITY,
    SIDE,
    fitted,
    overlay,
    overlay_sheet,
    sized,
    to_image,
)


def corner_map(size: int = 8) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a map that is 2 at the top right, and -1 elsewhere."""
    values = np.full((size, size), -1, np.float32)
    values[: size // 4, -size // 4 :] = 2
    return values


def explanation(classes: tuple[str, ...] = ("glioma_tumor",)) -> Explanation:
    maps = np.stack([corner_map() / np.float32(place + 1) for place in range(len(classes))])
    pixels = np.full((1, 8, 8), 90, np.uint8)
    return Explanation(pixels, classes[0], classes, (0.5,) * len(classes), maps)


def test_overlay__colours_only_the_maps_place() -> None:
    image = Image.new("L", (80, 40), 100)

    result = np.asarray(overlay(image, corner_map(), 2.0)).astype(int)

    assert result.shape == (40, 80, 3)
    assert (result[20:] == 100).all()  # the lower half, and the left one
    assert (result[:, :40] == 100).all()
    last_of_plasma = np.array([240, 249, 33])
    assert np.abs(result[2, -3] - (OPACITY * last_of_plasma + (1 - OPACITY) * 100)).max() <= 2


@pytest.mark.parametrize("scale", [0.0, 1e9])
def test_overlay__of_nothing_is_the_image(scale: float) -> None:
    image = Image.effect_noise((16, 16), 50).convert("RGB")

    assert ImageChops.difference(overlay(image, corner_map(), scale), image).getbbox() is None


def test_overlay__half_of_the_scale_is_fainter() -> None:
    image = Image.new("L", (8, 8))

    full, half = (np.asarray(overlay(image, corner_map(), scale)).astype(int).sum() for scale in (2.0, 4.0))

    assert 0 < half < full


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


@pytest.mark.parametrize("channels", [1, 3])
def test_to_image__of_grey_and_colour(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 5, 4), dtype=np.uint8)

    image = to_image(pixels)

    assert image.size == (4, 5)
    assert np.array_equal(np.asarray(image).reshape(5, 4, channels), pixels.transpose(1, 2, 0))


def test_fitted__keeps_the_end() -> None:
    font = ImageFont.load_default(16)
    name = f"{'very_long_folder_name_' * 5}image(12).jpg"

    short = fitted(name, font, 200)

    assert fitted("a.png", font, 200) == "a.png"
    assert short.startswith("…")
    assert short.endswith("image(12).jpg")
    assert font.getlength(short) <= 200
