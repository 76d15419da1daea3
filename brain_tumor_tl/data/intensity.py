"""Intensity: one rule for all images of more than 8 bits of a data set; those of 8 bits are used as they are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.decode import deep_values, open_image
from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.reader import read_each

RULES = ("auto", "range", "percentile", "file")
PERCENTILES = (0.5, 99.5)
MOST_VALUES = 2**24  # of all files together, from which percentiles are computed


class Intensity(TypedDict):
    """The rule of a data set, as JSON values.

    Attributes:
        rule: One of `RULES`.
        window: The intensities that become 0 and 255; None if no image has more than 8 bits, or each has its own.
        deep: Number of images of more than 8 bits; None if that was not looked for.
        percentiles: The percentiles `PERCENTILES` of their values.
    """

    rule: str
    window: list[float] | None
    deep: int | None
    percentiles: list[float] | None


class Summary(NamedTuple):
    """The intensities of one file: the least, the greatest, whether all are whole numbers, and a sample of them."""

    low: float
    high: float
    whole: bool
    sample: NDArray[np.float32]


def find_intensity(index: Index, rule: str) -> Intensity:
    """Apply a rule to the images of more than 8 bits of a data set, which are read for it.

    The rules are `range`, from the least to the greatest value of all images; `auto`, the same unless all values are
    whole numbers from 0 to 255, or all are fractions from 0 to 1: then 255, or 1, becomes 255; `percentile`, from
    the 0.5th to the 99.5th percentile; `file`, from the least to the greatest value of each file.

    Args:
        index: The files; those that can't be read don't count.
        rule: One of `RULES`.

    Raises:
        ValueError: The two percentiles are equal.
    """
    if rule == "file":
        return {"rule": rule, "window": None, "deep": None, "percentiles": None}
    most = max(MOST_VALUES // max(len(index), 1), 256)
    summaries: list[Summary | None] = []
    read_each(
        lambda path: summary(path, most),
        index,
        f"Looking for more than 8 bits in {len(index)} images",
        summaries.append,
    )
    found = [one for one in summaries if one is not None]
    if not found:
        return {"rule": rule, "window": None, "deep": 0, "percentiles": None}
    low, high = min(one.low for one in found), max(one.high for one in found)
    percentiles = [float(v) for v in np.percentile(np.concatenate([one.sample for one in found]), PERCENTILES)]
    window = [low, high]
    if rule == "percentile":
        window = percentiles
        if window[0] == window[1]:
            raise ValueError(f"99 % of all intensities are {window[0]:g}. Give data.intensity=range.")
    elif rule == "auto" and low >= 0 and high <= 255 and all(one.whole for one in found):
        window = [0.0, 255.0]
    elif rule == "auto" and low >= 0 and high <= 1:
        window = [0.0, 1.0]
    return {"rule": rule, "window": window, "deep": len(found), "percentiles": percentiles}


def summary(path: Path, most: int) -> Summary | None:
    """Return the intensities of one file, with a sample of at most `most`; None if it has 8 bits."""
    with path.open("rb") as file:
        if not file.read(4).startswith((b"\x89PNG", b"II", b"MM")):
            return None  # only PNG and TIFF can have more; the check takes a tenth of opening a picture
    with open_image(path) as image:
        values = deep_values(image, path)
    if values is None:
        return None
    flat, whole = values.ravel(), not np.issubdtype(values.dtype, np.floating) or bool((values == values.round()).all())
    # Drawn at random, since evenly spaced ones could all come from a few columns; the stream is frozen by NEP 19.
    sample = flat if flat.size <= most else flat[np.random.RandomState(0).randint(flat.size, size=most)]
    return Summary(float(flat.min()), float(flat.max()), whole, sample.astype(np.float32))


def describe_intensity(intensity: Intensity, images: int) -> str:
    """Return in words what became of the images of more than 8 bits; empty if there are none."""
    deep, window, percentiles = intensity["deep"], intensity["window"], intensity["percentiles"]
    if intensity["rule"] == "file":
        return "images of more than 8 bits are scaled one by one, each from its least to its greatest value"
    if not deep or window is None or percentiles is None:
        return ""
    low, high = window
    text = f"{deep} of {images} images have more than 8 bits; in all of them {low:g} to {high:g} became 0 to 255"
    if deep < images:
        text += "; the others are used as they are"
    if high - low > 4 * (percentiles[1] - low):
        text += f"; 99.5 % of the values are below {percentiles[1]:g}, so they are dark: try data.intensity=percentile"
    return text
