"""Overlay: Grad-CAM in colour over the image, with names and probabilities below."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from brain_tumor_tl.inference.explain import Explanation
from brain_tumor_tl.reporting.overlay import fitted, overlay, to_image

SIDE = 448  # pixels of a panel's longer side
COLUMNS = 5  # panels in a row
GAP, TEXT = 12, 16  # pixels between panels, and of letters


def overlay_sheet(explanation: Explanation, image: Image.Image | None = None, title: str = "") -> Image.Image:
    """Return the image, and beside it the image under each map, on one scale of colours.

    Args:
        explanation: The maps.
        image: The image at its own size; None for the one that the network got.
        title: What stands below the image.
    """
    image = sized(image or to_image(explanation.pixels))
    layers = [overlay(image, values, explanation.scale) for values in explanation.maps]
    named = zip(explanation.classes, explanation.probabilities, strict=True)
    captions = [f"{name} {share:.1%}{' (predicted)' * (name == explanation.predicted)}" for name, share in named]
    return side_by_side([image, *layers], [title, *captions], explanation.scale)


def sized(image: Image.Image) -> Image.Image:
    """Return an image in colour whose longer side is `SIDE`."""
    factor = SIDE / max(image.size)
    width, height = (max(1, round(length * factor)) for length in image.size)
    return image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)


def as_png(image: Image.Image) -> bytes:
    """Return an image as the content of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)  # the default takes as long as the network
    return file.getvalue()


def side_by_side(panels: Sequence[Image.Image], captions: Sequence[str], scale: float) -> Image.Image:
    """Return panels of one size in rows, with captions below and the scale of colours at the end of the first row."""
    width, height = panels[0].size
    across, down = max(width, SIDE // 2) + GAP, height + 2 * TEXT
    columns, font = min(len(panels), COLUMNS), ImageFont.load_default(TEXT)
    sheet = Image.new("RGB", (columns * across + 5 * TEXT, -(-len(panels) // columns) * down), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
        left, top = place % columns * across, place // columns * down
        sheet.paste(panel, (left, top))
        draw.text((left, top + height + TEXT // 3), fitted(caption, font, across - GAP), "black", font)
    bar = np.repeat(np.linspace(1, 0, height, dtype=np.float32)[:, None], TEXT, 1)
    left = columns * across
    sheet.paste(overlay(Image.new("L", (TEXT, height)), bar, 1), (left, 0))
    draw.text((left + 1.5 * TEXT, 0), f"{scale:+.2g}", "black", font)
    draw.text((left + 1.5 * TEXT, height - TEXT), "0", "black", font)
    draw.text((left, height + TEXT // 3), "logit", "black", font)
    return sheet
