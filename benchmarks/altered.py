"""Altered: how many copies of images are found after each kind of alteration, and how many pairs are false.

    python benchmarks/altered.py --data DIR

Each kind is applied to some images at full size. The results are searched for among all images. Found: a result is
paired with its original, or with a copy of it. False: it is paired with any other image.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.random import PCG64, RandomState
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from benchmarks import images, measure
from brain_tumor_tl.data.index import read_index
from brain_tumor_tl.data.leakage.copies import find_copies, near_pairs
from brain_tumor_tl.data.leakage.file_info import THUMBNAIL, FileInfo, load_file_info
from brain_tumor_tl.data.splits.groups import Indices

Picture = Image.Image
Alteration = Callable[[Picture], Picture]


def jpeg(picture: Picture, quality: int) -> Picture:
    """Return a picture after JPEG compression."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("L")


def resized(picture: Picture, across: float, down: float) -> Picture:
    """Return a picture of another size, as multiples of its own."""
    return picture.resize((max(8, round(picture.width * across)), max(8, round(picture.height * down))))


def cropped(picture: Picture, *shares: float) -> Picture:
    """Return a picture without shares of its size: left, upper, right, lower; one share is for all sides."""
    left, upper, right, lower = shares * 4 if len(shares) == 1 else shares
    (width, height), ends = picture.size, (1 - right, 1 - lower)
    return picture.crop((round(left * width), round(upper * height), round(ends[0] * width), round(ends[1] * height)))


def content(picture: Picture) -> Picture:
    """Return a picture without its dark borders."""
    bright = np.asarray(picture) > 30
    rows, columns = (np.flatnonzero(bright.mean(axis=axis) > 0.02) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return picture
    return picture.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))


def stretched(picture: Picture, low: float, high: float) -> Picture:
    """Return a picture whose tones between two percentiles of its content fill the range; the others are clipped."""
    pixels = np.asarray(picture, dtype=np.float64)
    inside = pixels[pixels > 10]
    black, white = np.percentile(inside if inside.size else pixels, [low, high])
    return Image.fromarray(np.clip((pixels - black) * 255 / max(white - black, 1), 0, 255).astype(np.uint8))


def curved(picture: Picture, gamma: float) -> Picture:
    """Return a picture with another gamma."""
    return picture.point([round(255 * (value / 255) ** gamma) for value in range(256)])


def brighter(picture: Picture, factor: float) -> Picture:
    """Return a picture with multiplied grey values, those above white clipped."""
    return ImageEnhance.Brightness(picture).enhance(factor)


def sharpened(picture: Picture, radius: float, percent: int) -> Picture:
    """Return a picture after unsharp masking."""
    return picture.filter(ImageFilter.UnsharpMask(radius, percent, 0))


def blurred(picture: Picture, share: float) -> Picture:
    """Return a picture blurred by a Gaussian whose standard deviation is a share of its width."""
    return picture.filter(ImageFilter.GaussianBlur(picture.width * share))


def noisy(picture: Picture, deviation: float) -> Picture:
    """Return a picture with normal noise."""
    noise = RandomState(PCG64(1)).normal(0, deviation, np.asarray(picture).shape)
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


ALTERATIONS: dict[str, Alteration] = {
    "rotated by 90 degrees": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "mirrored": ImageOps.mirror,
    "transposed": lambda picture: picture.transpose(Image.Transpose.TRANSPOSE),
    "JPEG of quality 20": partial(jpeg, quality=20),
    "half the size": partial(resized, across=0.5, down=0.5),
    "a third of the size": partial(resized, across=1 / 3, down=1 / 3),
    "another aspect ratio": partial(resized, across=1.2, down=0.9),
    "blurred by 1/256 of the width": partial(blurred, share=1 / 256),
    "blurred by 1/128 of the width": partial(blurred, share=1 / 128),
    "noise of 8 grey values": partial(noisy, deviation=8),
    "brightness x 1.3, clipped": partial(brighter, factor=1.3),
    "brightness x 1.6, clipped": partial(brighter, factor=1.6),
    "brightness x 2, clipped": partial(brighter, factor=2),
    "contrast x 2, clipped": lambda picture: ImageEnhance.Contrast(picture).enhance(2),
    "tones of 5 to 95 % of the content stretched": partial(stretched, low=5, high=95),
    "tones of 20 to 80 % of the content stretched": partial(stretched, low=20, high=80),
    "gamma 0.5": partial(curved, gamma=0.5),
    "gamma 0.67": partial(curved, gamma=0.67),
    "gamma 1.5": partial(curved, gamma=1.5),
    "gamma 2": partial(curved, gamma=2),
    "8 grey values": lambda picture: ImageOps.posterize(picture, 3),
    "equalised": ImageOps.equalize,
    "sharpened, radius 2, 150 %": partial(sharpened, radius=2, percent=150),
    "sharpened, radius 4, 200 %": partial(sharpened, radius=4, percent=200),
    "cropped by 3 % on every side": lambda picture: cropped(picture, 0.03),
    "cropped by 5 % on every side": lambda picture: cropped(picture, 0.05),
    "cropped by 8 % on every side": lambda picture: cropped(picture, 0.08),
    "cropped to its content": content,
    "a margin of 5 % on every side": lambda picture: ImageOps.expand(picture, round(0.05 * picture.width)),
    "a margin of 15 % on every side": lambda picture: ImageOps.expand(picture, round(0.15 * picture.width)),
    "flipped, cropped by 3 % on every side": lambda picture: cropped(ImageOps.flip(picture), 0.03),
    "gamma 0.67, cropped by 3 %, JPEG of quality 60": lambda picture: jpeg(cropped(curved(picture, 0.67), 0.03), 60),
    "equalised, cropped by 3 %": lambda picture: cropped(ImageOps.equalize(picture), 0.03),
    "stretched 5 to 95 %, to its content, sharpened": lambda picture: sharpened(
        content(stretched(picture, 5, 95)), 2, 100
    ),
}


def row_of(kind: str, info: FileInfo, groups: Indices, chosen: Indices) -> dict[str, Any]:
    """Alter some images and search for the results among all; return a row of the table.

    Args:
        kind: One of `ALTERATIONS`.
        info: All images.
        groups: Their groups of copies, `(N,)`.
        chosen: Positions of the images that are altered.
    """
    pictures = [altered_thumbnail(info, position, ALTERATIONS[kind]) for position in chosen.tolist()]
    count = len(info.thumbnails)
    digests = [*info.column("pixels"), *(f"altered {number}" for number in range(len(chosen)))]
    pairs = near_pairs(np.concatenate([info.thumbnails, np.stack(pictures)]), digests, since=count)
    own = {(pair.second - count, groups[pair.first]) for pair in pairs if pair.is_copy()}
    originals = groups[chosen]
    false = sum(int(group != originals[number]) for number, group in own)
    return {"alteration": kind, "of": len(chosen), "found": len(own) - false, "false pairs": false}


def altered_thumbnail(info: FileInfo, position: int, alteration: Alteration) -> NDArray[np.uint8]:
    """Return the thumbnail of an altered image."""
    with Image.open(info.index.root / info.index.paths[position]) as image:
        picture = alteration(image.convert("L"))
    return np.asarray(picture.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each kind of alteration and print the table."""
    options = measure.options(
        __doc__, arguments, ("alter", 100, "images to alter"), ("kinds", list(ALTERATIONS), "kinds of alteration"),
        data=None, images=400, image_size=256,
    )  # fmt: skip
    environment = measure.environment()
    with images.work_folder() as work:
        root = images.provided(options.data, options.images, options.image_size, work)
        info = load_file_info(read_index(root, images.known_classes()), work / "cache")
        chosen = RandomState(PCG64(3)).choice(len(info.index), min(options.alter, len(info.index)), replace=False)
        groups = find_copies(info, work / "cache").groups
        rows = [row_of(kind, info, groups, chosen) for kind in options.kinds]
    measure.report("Copies found after alterations", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
