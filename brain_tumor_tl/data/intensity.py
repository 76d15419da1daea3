"""Intensity: one rule for all images of more than 8 bits of a data set; those of 8 bits are used as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.decode import Values, deep_values, open_image
from brain_tumor_tl.data.formats import format_of
from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.reader import read_each
from brain_tumor_tl.data.volumes import has_own_window, picture_values, split_name

AUTO = "auto"
RULES = ("auto", "range", "percentile", "file")
PERCENTILES = (0.5, 99.5)
MOST_VALUES = 2**24  # of all files together, from which percentiles are computed


class Intensity(TypedDict):
    """The rule of a data set, as JSON values.

    Attributes:
        rule: One of `RULES`.
        window: The intensities that become 0 and 255; None if no image has more than 8 bits, or each has its own.
        deep: Number of images of more than 8 bits that it is for; None if that was not looked for.
        percentiles: The percentiles `PERCENTILES` of their values.
        own_window: Number of further images that are seen through a window of their own; absent if there are none.
    """

    rule: str
    window: list[float] | None
    deep: int | None
    percentiles: list[float] | None
    own_window: NotRequired[int]


class Summary(NamedTuple):
    """The intensities of one file: the least, the greatest, whether all are whole numbers, and a sample of them."""

    low: float
    high: float
    whole: bool
    sample: NDArray[np.float32]


OWN_WINDOW = Summary(0, 0, True, np.empty(0, np.float32))  # in place of that of an image with a window of its own


def uses_own_window(rule: str) -> bool:
    """Tell whether DICOM files with a window of their own are seen through it, and the rule is for the others alone."""
    return rule == AUTO


def find_intensity(index: Index, rule: str) -> Intensity:
    """Apply a rule to the images of more than 8 bits of a data set, which are read for it.

    The rules are `range`, from the least to the greatest value of all images; `auto`, the same unless all values are
    whole numbers from 0 to 255, or all are fractions from 0 to 1: then 255, or 1, becomes 255; `percentile`, from
    the 0.5th to the 99.5th percentile; `file`, from the least to the greatest value of each file. With `auto`, a DICOM
    file that has a window of its own is seen through it.

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
        lambda path: summary(path, most, uses_own_window(rule)),
        index,
        f"Looking for more than 8 bits in {len(index)} images",
        summaries.append,
    )
    found = [one for one in summaries if one is not None and one is not OWN_WINDOW]
    result: Intensity = {"rule": rule, "window": None, "deep": len(found), "percentiles": None}
    if own := sum(one is OWN_WINDOW for one in summaries):
        result["own_window"] = own
    if found:
        result["window"], result["percentiles"] = window_for(found, rule)
    return result


def window_for(found: Sequence[Summary], rule: str) -> tuple[list[float], list[float]]:
    """Return the window of a rule for some intensities, and the percentiles of these.

    Raises:
        ValueError: The two percentiles are equal.
    """
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
    return window, percentiles


def summary(path: Path, most: int, own_window: bool) -> Summary | None:
    """Return the intensities of one image.

    Args:
        path: Its path, as in an index.
        most: Number of values to sample at most.
        own_window: Whether an image with a window of its own is seen through it.

    Returns:
        `OWN_WINDOW` if it is; None if the image has 8 bits.
    """
    file, number = split_name(path)
    if kind := format_of(file):
        if own_window and has_own_window(file, kind, number):
            return OWN_WINDOW
        values = picture_values(file, kind, number, own_window)
        return None if values.dtype == np.uint8 else summary_of(values, most)
    with path.open("rb") as opened:
        if not opened.read(4).startswith((b"\x89PNG", b"II", b"MM")):
            return None  # only PNG and TIFF can have more; the check takes a tenth of opening a picture
    with open_image(path) as image:
        deep = deep_values(image, path)
    return None if deep is None else summary_of(deep, most)


def summary_of(values: Values, most: int) -> Summary:
    """Return the summary of an image's intensities, with a sample of at most `most`."""
    flat, whole = values.ravel(), not np.issubdtype(values.dtype, np.floating) or bool((values == values.round()).all())
    # Drawn at random, since evenly spaced ones could all come from a few columns; the stream is frozen by NEP 19.
    sample = flat if flat.size <= most else flat[np.random.RandomState(0).randint(flat.size, size=most)]
    return Summary(float(flat.min()), float(flat.max()), whole, sample.astype(np.float32))


def describe_intensity(intensity: Intensity, images: int) -> str:
    """Return in words what became of the images of more than 8 bits; empty if there are none."""
    deep, window, percentiles = intensity["deep"], intensity["window"], intensity["percentiles"]
    if intensity["rule"] == "file":
        return "images of more than 8 bits are scaled one by one, each from its least to its greatest value"
    parts = []
    if own := intensity.get("own_window"):
        parts.append(f"{own} of {images} images are seen through the windows that their DICOM headers have")
    if deep and window is not None and percentiles is not None:
        low, high = window
        parts.append(
            f"{deep} of {images} images have more than 8 bits; in all of them {low:g} to {high:g} became 0 to 255"
        )
        if deep + (own or 0) < images:
            parts.append("the others are used as they are")
        if high - low > 4 * (percentiles[1] - low):
            parts.append(
                f"99.5 % of the values are below {percentiles[1]:g}, so they are dark: try data.intensity=percentile"
            )
    return "; ".join(parts)
