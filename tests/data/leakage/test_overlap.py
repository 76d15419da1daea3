"""Overlap: which images of a second set have a copy in the first, and at which level."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.random import PCG64, RandomState
from PIL import Image

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.leakage.copies import KINDS, Pair, near_pairs
from brain_tumor_tl.data.leakage.file_info import THUMBNAIL, FileInfo, FileRecord
from brain_tumor_tl.data.leakage.overlap import Shared, shared_images
from brain_tumor_tl.data.leakage.search import NEAREST
from brain_tumor_tl.data.sources.phantom import draw_head


def info_of(digests: dict[str, str]) -> FileInfo:
    """Return the properties of files, by the digests of their bytes and pixels."""
    count = len(digests)
    labels = np.zeros(count, dtype=np.int64)
    index = Index(Path("nowhere"), tuple(digests), labels, ("a",), ("",) * count, tuple(digests))
    files = tuple(FileRecord(1, 1, 1, "L", "PNG", pixels) for pixels in digests.values())
    return FileInfo(index, np.zeros((count, 128, 128), dtype=np.uint8), files, "key")


def test_shared_images__the_strictest_kind_and_the_closest_pair() -> None:
    ours = info_of({"f0": "p0", "f1": "p1", "f2": "p2"})
    theirs = info_of({"f1": "p1", "x": "p0", "y": "q", "z": "q", "other": "r"})
    pairs = [Pair(0, 2, 0, 0.96, 1.0, 1.0), Pair(2, 2, 3, 0.99, 1.0, 1.0), Pair(2, 1, 0, 1.0, 1.0, 1.0)]

    found = shared_images(ours, theirs, pairs)

    assert found == [
        Shared(1, 0, KINDS[0]), Shared(0, 1, KINDS[1]),
        Shared(2, 2, KINDS[2], 3, 0.99), Shared(2, 3, KINDS[2], 3, 0.99),
    ]  # fmt: skip


def test_shared_images__among_some_of_the_first_set() -> None:
    ours = info_of({"f0": "p0", "f1": "p0", "f2": "p2", "f3": "p3"})
    theirs = info_of({"f0": "p0", "x": "p0", "f2": "p2", "near": "q"})
    pairs = [Pair(0, 3, 0, 0.96, 1.0, 1.0), Pair(2, 3, 0, 0.99, 1.0, 1.0)]

    found = shared_images(ours, theirs, pairs, among=np.array([1, 3]))

    assert found == [Shared(1, 0, KINDS[1]), Shared(1, 1, KINDS[1]), Shared(1, 3, KINDS[2], 0, 0.96)]


def test_near_pairs__many_copies_in_the_second_set_hide_none() -> None:
    head = Image.fromarray(draw_head("glioma_tumor", THUMBNAIL, RandomState(PCG64(1))))
    images = [np.asarray(head)]
    for quality in range(50, 50 + 3 * NEAREST):
        file = io.BytesIO()
        head.save(file, "JPEG", quality=quality)
        images.append(np.asarray(Image.open(file)))

    pairs = near_pairs(np.stack(images), [str(number) for number in range(len(images))], since=1)

    assert [pair[:2] for pair in pairs if pair.is_copy()] == [(0, number) for number in range(1, len(images))]
