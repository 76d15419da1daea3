"""Runs: neighbouring file numbers whose pictures look alike. A proxy for a patient's slices, and not the truth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.splits.groups import Indices, joined

# Correlation of neighbours' thumbnails from which they count as one run. On the study's images 51 % of neighbours reach
# it, and 0.7 % of pairs drawn at random from one class (docs/protocols.md).
ALIKE = 0.85


def find_series(paths: Sequence[str], thumbnails: NDArray[Any], least: float = ALIKE) -> Indices:
    """Return groups of images in the same folder with consecutive numbers that each look like the one before.

    Args:
        paths: Path of each image, such as `Training/glioma_tumor/gg (12).jpg`.
        thumbnails: A small grey picture of each image, `(N, ...)`.
        least: Least correlation of two neighbours in a run.

    Returns:
        Group of each image, int64 `(N,)`.
    """
    pairs = neighbours(paths)
    alike = pairs[correlations(thumbnails, pairs) >= least]
    chained = np.arange(len(paths))
    for before, after in alike.tolist():  # in ascending order of number, so a run inherits its first image's
        chained[after] = chained[before]
    return joined(len(paths), chained)


def neighbours(paths: Sequence[str]) -> Indices:
    """Return the pairs of positions whose paths differ in their last number alone, by one; ascending, `(P, 2)`.

    >>> neighbours(["a/p (2).jpg", "a/p (10).jpg", "a/p (1).jpg", "b/p (3).jpg", "a/p.jpg"]).tolist()
    [[2, 0]]
    """
    keys = sorted((*stem_and_number(path), position) for position, path in enumerate(paths))
    pairs = [
        (before[2], after[2]) for before, after in pairwise(keys) if before[0] == after[0] and after[1] - before[1] == 1
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def stem_and_number(path: str) -> tuple[str, int]:
    """Return a path less the last number of its file's name, and that number; -1 where it has none.

    >>> stem_and_number("Training/no_tumor/image(19).jpg")
    ('Training/no_tumor/image()', 19)
    """
    folder, slash, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    found = re.fullmatch(r"(.*?)(\d+)(\D*)", stem, re.DOTALL)
    if not found:
        return folder + slash + stem, -1
    return folder + slash + found[1] + found[3], int(found[2])


def correlations(thumbnails: NDArray[Any], pairs: Indices) -> NDArray[np.float64]:
    """Return the correlation of the thumbnails of each pair, `(P,)`; 0 where one of them is of one grey throughout."""
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), 4096):  # bounds the memory
        one, other = (centred(thumbnails[pairs[start : start + 4096, side]]) for side in (0, 1))
        length = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
        result[start : start + 4096] = (one * other).sum(axis=1) / np.maximum(length, 1e-12)
    return result


def centred(pictures: NDArray[Any]) -> NDArray[np.float64]:
    """Return pictures as rows less their means, `(B, P)`."""
    rows = pictures.reshape(len(pictures), -1).astype(np.float64)
    result: NDArray[np.float64] = rows - rows.mean(axis=1, keepdims=True)
    return result
