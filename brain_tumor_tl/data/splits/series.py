"""Series: neighbouring file numbers whose images look alike; an approximation of one patient's slices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.splits.groups import Indices, numbered

# Correlation of neighbours' thumbnails from which they count as one series. Of the study's images, 51 % of neighbours
# reach it, and 0.7 % of random pairs of one class (docs/protocols.md).
ALIKE = 0.85


def find_series(paths: Sequence[str], thumbnails: NDArray[Any], least: float = ALIKE) -> Indices:
    """Return groups of images in one folder with consecutive numbers, each of which looks like the one before.

    Args:
        paths: Path of each image, such as `Training/glioma_tumor/gg (12).jpg`.
        thumbnails: A small grey picture of each image, `(N, ...)`.
        least: Least correlation of two neighbours in a series.

    Returns:
        Group of each image, int64 `(N,)`.
    """
    pairs = neighbours(paths)
    series = np.arange(len(paths))
    for before, after in pairs[correlations(thumbnails, pairs) >= least].tolist():  # ascending numbers
        series[after] = series[before]
    return numbered(series)


def neighbours(paths: Sequence[str]) -> Indices:
    """Return the pairs of positions whose paths differ only in their last number, by one; ascending, `(P, 2)`.

    >>> neighbours(["a/p (2).jpg", "a/p (10).jpg", "a/p (1).jpg", "b/p (3).jpg", "a/p.jpg"]).tolist()
    [[2, 0]]
    """
    keys = sorted((*stem_and_number(path), position) for position, path in enumerate(paths))
    pairs = [(one[2], two[2]) for one, two in pairwise(keys) if one[0] == two[0] and two[1] - one[1] == 1]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def stem_and_number(path: str) -> tuple[str, int]:
    """Return a path without its suffix and the last number of the file's name, and that number; -1 if it has none.

    >>> stem_and_number("Training/no_tumor/image(19).jpg")
    ('Training/no_tumor/image()', 19)
    >>> stem_and_number("no_tumor/scan.nii.gz#019")
    ('no_tumor/scan.nii.gz', 19)
    """
    volume, mark, number = path.rpartition("#")
    if mark and number.isdecimal():  # a picture of a file of several
        return volume, int(number)
    stem = str(PurePosixPath(path).with_suffix(""))
    found = re.fullmatch(r"(.*?)(\d+)([^\d/]*)", stem, re.DOTALL)
    return (found[1] + found[3], int(found[2])) if found else (stem, -1)


def correlations(thumbnails: NDArray[Any], pairs: Indices) -> NDArray[np.float64]:
    """Return the correlation of each pair's thumbnails, `(P,)`; 0 if one of them is a single grey throughout."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), 4096):  # bounds the memory
        chunk = slice(start, start + 4096)
        one, two = (centred(thumbnails[positions]) for positions in pairs[chunk].T)
        length = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
        result[chunk] = (one * two).sum(axis=1) / np.maximum(length, 1e-12)
    return result


def centred(pictures: NDArray[Any]) -> NDArray[np.float64]:
    """Return pictures as rows minus their means, `(B, P)`."""
    rows = pictures.reshape(len(pictures), -1).astype(np.float64)
    result: NDArray[np.float64] = rows - rows.mean(axis=1, keepdims=True)
    return result
