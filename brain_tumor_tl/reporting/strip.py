"""Strip: many small grey images as one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from brain_tumor_tl.reporting.page import Picture

Thumbnails = NDArray[np.uint8]
GAP = 4  # pixels between the images
NAME = 14  # pixels for the name below an image
COLUMNS = 8  # images in a row


def strip(images: Thumbnails, alt: str, caption: str = "", names: Sequence[str] = ()) -> Picture:
    """Return grey images, uint8 `(N, S, S)`, in rows of eight as one picture, with `names` below them if given."""
    count, size, _ = images.shape
    columns, step, down = min(COLUMNS, count), size + GAP, size + GAP + (NAME if names else 0)
    rows = -(-count // columns)
    picture = Image.new("L", (columns * step - GAP, rows * down - GAP), 255)
    for position, image in enumerate(images):
        left, top = position % columns * step, position // columns * down
        picture.paste(Image.fromarray(image), (left, top))
        if names:
            ImageDraw.Draw(picture).text((left, top + size), names[position], fill=0)
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return Picture(content.getvalue(), alt, caption, width=columns * 136)
