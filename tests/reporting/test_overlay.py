"""Overlay: colours where the map is, the image as it was elsewhere, and sheets of images with captions."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageFont

from brain_tumor_tl.reporting.overlay import GAP, OPACITY, TEXT, contact_sheet, fitted, overlay, to_image


def corner_map(size: int = 8) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return a map that is 2 at the top right, and -1 elsewhere."""
    values = np.full((size, size), -1, np.float32)
    values[: size // 4, -size // 4 :] = 2
    return values


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


def test_contact_sheet__tiles_in_rows_with_their_lines() -> None:
    tiles = [Image.new("RGB", (60, 40), (shade, 0, 0)) for shade in (50, 100, 150)]

    sheet = np.asarray(contact_sheet(tiles, [["one", "1"], ["two"], ["three"]], columns=2)).astype(int)

    step = 40 + 2 * (TEXT + 4) + GAP
    assert sheet.shape == (2 * step - GAP, 2 * 60 + GAP, 3)
    assert (sheet[:40, :60] == (50, 0, 0)).all()
    assert (sheet[:40, 60 + GAP :] == (100, 0, 0)).all()
    assert (sheet[step : step + 40, :60] == (150, 0, 0)).all()
    assert (sheet[40 + TEXT + 4 : step - GAP, :60] < 128).any()  # the second line of the first tile
    assert (sheet[step:, 60 + GAP :] == 255).all()
