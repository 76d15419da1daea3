"""Overlap: which images two data sets share, to be checked before one serves as an external test of the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.data.leakage.copies import Pair, cached_pairs, near_pairs
from brain_tumor_tl.data.leakage.file_info import FileInfo


def overlap(ours: FileInfo, theirs: FileInfo, cache_dir: Path) -> dict[str, Any]:
    """Return how many images of a second set have a copy in the first, by files, by pixels and by near copies.

    Args:
        ours: The first set.
        theirs: The second set.
        cache_dir: Folder of the cache.
    """
    index, pixels = theirs.index, theirs.column("pixels")
    first_with = {digest: position for position, digest in reversed(list(enumerate(ours.column("pixels"))))}
    pairs = pairs_between(ours, theirs, cache_dir)
    similar = {pixels[pair.second] for pair in pairs}  # a pair names only the first image of identical pixels
    near = np.array([digest in first_with or digest in similar for digest in pixels], dtype=bool)
    identical = [(first_with[digest], position) for position, digest in enumerate(pixels) if digest in first_with]
    return {
        "root": printable(str(index.root)),
        "images": len(index),
        "unreadable": len(index.bad),
        "identical files": len(np.flatnonzero(np.isin(index.digests, ours.index.digests))),
        "identical pixels": len(identical),
        "near copies": int(near.sum()),
        "classes": {
            name: [int(near[index.labels == label].sum()), int((index.labels == label).sum())]
            for label, name in enumerate(index.classes)
        },
        "pairs": [(pair.first, pair.second) for pair in pairs] + identical,
    }


def pairs_between(ours: FileInfo, theirs: FileInfo, cache_dir: Path) -> list[Pair]:
    """Return the near copies with one image in each set, with positions in their own sets."""
    count = len(ours.index)

    def find() -> list[Pair]:
        images = np.concatenate([ours.thumbnails, theirs.thumbnails])
        return near_pairs(images, ours.column("pixels") + theirs.column("pixels"), since=count)

    pairs = cached_pairs(cache_dir, "overlap", [ours.key, theirs.key], find)
    return [p._replace(second=p.second - count) for p in pairs if p.first < count <= p.second and p.is_copy()]
