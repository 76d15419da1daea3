"""Overlap: which images two data sets share, before one is called an external test of the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.cache import digest_of, load_or_build
from brain_tumor_tl.data.index import printable
from brain_tumor_tl.data.leakage.copies import DETAIL, GREY, OVERLAP, SEARCH, Pair, near_pairs, read_pairs, write_pairs
from brain_tumor_tl.data.leakage.file_info import FileInfo


def overlap(ours: FileInfo, theirs: FileInfo, cache_dir: Path) -> dict[str, Any]:
    """Return how many images of a second set have a copy in the first, by files, by pixels and by near copies.

    Args:
        ours: The first set.
        theirs: The second.
        cache_dir: Where what is found is kept.
    """
    pixels = set(ours.column("pixels"))
    by_files = np.isin(theirs.index.digests, ours.index.digests)
    by_pixels = np.array([name in pixels for name in theirs.column("pixels")], dtype=bool)
    pairs = pairs_between(ours, theirs, cache_dir)
    near = by_pixels.copy()
    near[alike(theirs.column("pixels"), [pair.second for pair in pairs])] = True
    classes = np.array([theirs.index.classes[label] for label in theirs.index.labels])
    return {
        "root": printable(str(theirs.index.root)),
        "images": len(theirs.index),
        "unreadable": len(theirs.index.bad),
        "identical files": int(by_files.sum()),
        "identical pixels": int(by_pixels.sum()),
        "near copies": int(near.sum()),
        "classes": {
            name: [int(near[classes == name].sum()), int((classes == name).sum())] for name in theirs.index.classes
        },
        "pairs": [(pair.first, pair.second) for pair in pairs] + twins(ours, theirs),
    }


def alike(names: Sequence[str], chosen: Sequence[int]) -> list[int]:
    """Return the positions of all that have the name of a chosen one."""
    wanted = {names[position] for position in chosen}
    return [position for position, name in enumerate(names) if name in wanted]


def twins(ours: FileInfo, theirs: FileInfo) -> list[tuple[int, int]]:
    """Return the positions of images with equal pixels, the first of ours for each of theirs."""
    places = {name: position for position, name in reversed(list(enumerate(ours.column("pixels"))))}
    return [(places[name], position) for position, name in enumerate(theirs.column("pixels")) if name in places]


def pairs_between(ours: FileInfo, theirs: FileInfo, cache_dir: Path) -> list[Pair]:
    """Return the near copies with one image in each set, positions in their own sets."""
    count = len(ours.index)

    def build(path: Path) -> dict[str, Any]:
        pictures = np.concatenate([ours.thumbnails, theirs.thumbnails])
        return write_pairs(path, near_pairs(pictures, ours.column("pixels") + theirs.column("pixels"), since=count))

    stored = load_or_build(cache_dir, "overlap", digest_of("overlap", SEARCH, ours.key, theirs.key), build)
    return [
        pair._replace(second=pair.second - count)
        for pair in read_pairs(stored.array)
        if pair.first < count <= pair.second and pair.is_copy(DETAIL, GREY, OVERLAP)
    ]
