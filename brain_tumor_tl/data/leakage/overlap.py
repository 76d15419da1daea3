"""Overlap: which images two data sets share, to be checked before one serves as an external test of the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.data.leakage.copies import KINDS, Pair, cached_pairs, near_pairs
from brain_tumor_tl.data.leakage.file_info import FileInfo
from brain_tumor_tl.data.leakage.search import TURNS
from brain_tumor_tl.data.patients import Patients
from brain_tumor_tl.data.splits.groups import Indices

COLUMNS = ("path", "class", "other_path", "other_class", "level", "orientation", "detail")  # of overlap.csv


class Shared(NamedTuple):
    """An image of the second set and the image of the first that is closest to it.

    Attributes:
        first: Position of the image of the first set.
        second: Position of the image of the second set.
        level: One of `KINDS`.
        turn: Orientation of the second image; position in `TURNS`.
        detail: Correlation of the fine detail, 1 for identical pixels.
    """

    first: int
    second: int
    level: str
    turn: int = 0
    detail: float = 1.0


def overlap(
    ours: FileInfo, theirs: FileInfo, cache_dir: Path, patients: Sequence[Patients | None] = (None, None)
) -> dict[str, Any]:
    """Return the images of a second set that have a copy in the first: how many, which, and of how many patients.

    Args:
        ours: The first set.
        theirs: The second set.
        cache_dir: Folder of the cache.
        patients: The patients of both sets, None where none is known.
    """
    index, shared = theirs.index, shared_images(ours, theirs, pairs_between(ours, theirs, cache_dir))
    counts = {kind: sum(image.level in KINDS[:end] for image in shared) for end, kind in enumerate(KINDS, 1)}
    labels = index.labels[[image.second for image in shared]]
    return {
        "root": printable(str(index.root)),
        "images": len(index),
        "unreadable": len(index.bad),
        **counts,
        "classes": {
            name: [int((labels == label).sum()), int((index.labels == label).sum())]
            for label, name in enumerate(index.classes)
        },
        "patients": shared_patients(shared, *patients),
        "shared": [row_of(image, ours, theirs) for image in shared],
        "positions": [image[:2] for image in shared],
    }


def shared_images(
    ours: FileInfo, theirs: FileInfo, pairs: Sequence[Pair], among: Indices | None = None
) -> list[Shared]:
    """Return the images of the second set with a copy in the first, in the order of the second.

    Args:
        ours: The first set.
        theirs: The second set.
        pairs: Near copies between them; each names only the first image of identical pixels.
        among: Positions of the images of the first set that count, ascending, such as those of a training split; None
            for all.
    """
    pixels, known = theirs.column("pixels"), ours.column("pixels")
    positions = range(len(known)) if among is None else among.tolist()
    by_file, by_pixels = (
        {digests[position]: position for position in reversed(positions)} for digests in (ours.index.digests, known)
    )
    counted = (pair._replace(first=by_pixels[known[pair.first]]) for pair in pairs if known[pair.first] in by_pixels)
    near = {pixels[pair.second]: pair for pair in sorted(counted, key=lambda pair: pair.detail)}  # the closest stays
    found = []
    for position, (file, digest) in enumerate(zip(theirs.index.digests, pixels, strict=True)):
        if file in by_file:
            found.append(Shared(by_file[file], position, KINDS[0]))
        elif digest in by_pixels:
            found.append(Shared(by_pixels[digest], position, KINDS[1]))
        elif digest in near:
            pair = near[digest]
            found.append(Shared(pair.first, position, KINDS[2], pair.turn, pair.detail))
    return found


def row_of(image: Shared, ours: FileInfo, theirs: FileInfo) -> dict[str, Any]:
    """Return a row of `overlap.csv`: path and class in both sets, and how alike the images are."""
    sides = ((ours.index, image.first), (theirs.index, image.second))
    names = [name for index, i in sides for name in (printable(index.paths[i]), index.classes[index.labels[i]])]
    return dict(zip(COLUMNS, (*names, image.level, TURNS[image.turn], round(image.detail, 4)), strict=True))


def shared_patients(shared: Sequence[Shared], ours: Patients | None, theirs: Patients | None) -> dict[str, Any]:
    """Return how many known patients have a shared image, and how many images the second set has of them; null if not.

    Args:
        shared: The images in both sets.
        ours: Patients of the first set.
        theirs: Patients of the second set.
    """
    first = known_patients(ours, [image.first for image in shared])
    second = known_patients(theirs, [image.second for image in shared])
    return {
        "of_the_first": None if ours is None else len(first),
        "of_the_second": None if theirs is None else len(second),
        "images_of_the_second": None if theirs is None else int(np.isin(theirs.numbers, second).sum()),
    }


def known_patients(patients: Patients | None, positions: Sequence[int]) -> Indices:
    """Return the known patients of some images, each once; none if no patient is known."""
    found = np.unique(patients.numbers[list(positions)] if patients else np.zeros(0, dtype=np.int64))
    return found[found >= 0]


def pairs_between(ours: FileInfo, theirs: FileInfo, cache_dir: Path) -> list[Pair]:
    """Return the near copies with one image in each set, with positions in their own sets."""
    count = len(ours.index)

    def find() -> list[Pair]:
        images = np.concatenate([ours.thumbnails, theirs.thumbnails])
        return near_pairs(images, ours.column("pixels") + theirs.column("pixels"), since=count)

    pairs = cached_pairs(cache_dir, "overlap", [ours.key, theirs.key], find)
    return [pair._replace(second=pair.second - count) for pair in pairs if pair.is_copy()]
