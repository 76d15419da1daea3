"""Overlay: a map in colour over an image, and images with captions on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLOURS = "plasma"  # of matplotlib: even steps of lightness, also to the colour-blind, and no grey as in the image
OPACITY = 0.7  # where the map is largest; elsewhere in proportion
GAP, TEXT = 8, 14  # pixels between the tiles of a sheet, and of its letters


def overlay(image: Image.Image, values: NDArray[np.float32], scale: float) -> Image.Image:
    """Return an image with a map in colour over it; where the map is 0 or below, the image is as it was.

    Args:
        image: Of mode L or RGB, of any size.
        values: The map of the whole image, `(S, S)`.
        scale: The value that gets the last colour and full opacity; 0 for a map without positive values.
    """
    from matplotlib import colormaps  # late: it takes longer than a prediction

    shares = np.clip(values / scale, 0, 1) if scale > 0 else np.zeros_like(values)
    resized = np.asarray(Image.fromarray(shares).resize(image.size, Image.Resampling.BILINEAR))
    opacity = OPACITY * resized[..., None]
    mixed = (1 - opacity) * np.asarray(image.convert("RGB")) + opacity * 255 * colormaps[COLOURS](resized)[..., :3]
    return Image.fromarray(np.round(mixed).astype(np.uint8))


def to_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return a decoded image, uint8 `(C, H, W)`, as one of Pillow."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def contact_sheet(tiles: Sequence[Image.Image], captions: Sequence[Sequence[str]], columns: int) -> Image.Image:
    """Return tiles of one size in rows, each with lines of text below it.

    Args:
        tiles: At least one.
        captions: The lines of each tile, as many for all.
        columns: Tiles in a row.
    """
    width, height = tiles[0].size
    lines, font = max(map(len, captions)), ImageFont.load_default(TEXT)
    step = width + GAP, height + lines * (TEXT + 4) + GAP
    columns = min(columns, len(tiles))
    sheet = Image.new("RGB", (columns * step[0] - GAP, -(-len(tiles) // columns) * step[1] - GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        left, top = place % columns * step[0], place // columns * step[1]
        sheet.paste(tile, (left, top))
        for line, words in enumerate(caption):
            draw.text((left, top + height + line * (TEXT + 4)), fitted(words, font, width), "black", font)
    return sheet


def fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Return a text that is no wider than `width` pixels; of a longer one the end."""
    shown = text
    while text and font.getlength(shown) > width:
        text = text[1:]
        shown = f"…{text}"
    return shown
