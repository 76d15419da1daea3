"""Relations: which images share more than a class: identical pixels, a patient, a series of file numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from brain_tumor_tl.cache import CacheEntry, digest_of, load_or_build, new_array
from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.intensity import uses_own_window
from brain_tumor_tl.data.leakage.copies import find_copies
from brain_tumor_tl.data.leakage.file_info import load_file_info
from brain_tumor_tl.data.splits.groups import Indices, groups_of, joined, named_groups, singletons
from brain_tumor_tl.data.splits.series import find_series

QUICK_SCAN_VERSION = 1  # part of the cache's key: raise it when the result of a quick scan changes
SIDE = 32  # pixels of the images that series and nearest neighbours are found by
TRAIN_ROWS, TEST_ROWS = 8192, 512  # training and test images that are compared at a time: bounds the memory


@dataclass(frozen=True, eq=False)
class Relations:
    """Which images share more than a class.

    Attributes:
        paths: Path of each image.
        identical: Groups of images with the same pixels, `(N,)`; None if not computed.
        copies: Groups of images that are copies of each other, near copies included, `(N,)`; None if not computed.
        patients: Number of each image's patient, `(N,)`, -1 if it is not known; None if no patient is known.
        thumbnails: A small grey image of each image, uint8 `(N, S, S)`; None if not computed.
    """

    paths: Sequence[str]
    identical: Indices | None = None
    copies: Indices | None = None
    patients: Indices | None = None
    thumbnails: NDArray[np.uint8] | None = None

    @cached_property
    def series(self) -> Indices:
        """Groups of neighbouring file numbers whose images look alike, `(N,)`."""
        assert self.thumbnails is not None, "computed together with the copies"
        return find_series(self.paths, pooled(self.thumbnails))

    @cached_property
    def by_patient(self) -> list[Indices]:
        """What tells whose an image is: patients where they are known, and series of the other images."""
        if self.patients is None:
            return [self.series]
        rest = [groups_of(np.where(self.patients < 0, self.series, -1))] if (self.patients < 0).any() else []
        return [groups_of(self.patients), *rest]

    def groups(self, by: str) -> Indices:
        """Return which images stay together, `(N,)`.

        Args:
            by: "random" for none, "grouped" for copies, "series" for these and series of neighbouring file numbers,
                "patients" for copies, a patient's images, and series of the images of unknown patients.

        Raises:
            ValueError: The copies are not computed, or no patient is known.
        """
        if by == "random":
            return singletons(len(self.paths))
        if by == "patients" and self.patients is None:
            raise ValueError(
                f"Expected to know the patients of some images for a split by patients, got none for {len(self.paths)} "
                "images. Give data.patients=CSV with the columns path and patient, or data.split=series."
            )
        together = [self.require_copies()]
        if by == "series":
            together.append(self.series)
        elif by == "patients":
            together += self.by_patient
        return joined(len(self.paths), *together)

    def known_groups(self, by: str) -> Indices | None:
        """Return the groups of images that are not independent of each other, None if nothing is known of them.

        They hold copies, or identical images where near copies are not searched for, and a patient's images.

        Args:
            by: What the split keeps together; with "series" and "patients" the groups hold series of images of unknown
                patients too.
        """
        known = [] if self.known_copies is None else [self.known_copies]
        if by in ("series", "patients"):
            known += self.by_patient
        elif self.patients is not None:
            known.append(groups_of(self.patients))
        return joined(len(self.paths), *known) if known else None

    @property
    def known_copies(self) -> Indices | None:
        """Groups of copies, or of identical images alone where near copies were not searched for."""
        return self.identical if self.copies is None else self.copies

    def require_copies(self) -> Indices:
        """Return the groups of copies.

        Raises:
            ValueError: They are not computed.
        """
        if self.copies is None:
            raise ValueError("This split needs to know which images are copies. Give data.find_copies=auto.")
        return self.copies


def find_relations(
    index: Index, images: CacheEntry, cache_dir: Path, patients: Indices | None, wanted: str | bool, needed: bool
) -> Relations:
    """Find the copies among images, or load them from the cache.

    Args:
        index: The images.
        images: Decoded, uint8 `(N, C, H, W)`.
        cache_dir: Folder of the cache.
        patients: Number of each image's patient, `(N,)`, -1 if it is not known; None if no patient is known.
        wanted: Whether to search for copies; "auto" searches for near copies, which takes a minute, only if `needed`.
        needed: Whether the split depends on them.
    """
    if wanted is False:
        return Relations(index.paths, patients=patients)
    if wanted == "auto" and not needed:
        return quick_scan(index.paths, images, cache_dir, patients)
    found = images.about["intensity"]
    info = load_file_info(index, cache_dir, found["window"], uses_own_window(found["rule"]))
    identical = named_groups(info.column("pixels"))
    return Relations(index.paths, identical, find_copies(info, cache_dir).groups, patients, info.thumbnails)


def quick_scan(paths: Sequence[str], images: CacheEntry, cache_dir: Path, patients: Indices | None) -> Relations:
    """Return what decoded images show without reading the files again: which are identical, and thumbnails.

    Images of different files that are equal after resizing count as identical.
    """

    def build(path: Path) -> dict[str, Any]:
        small = new_array(path, np.uint8, (len(images.array), SIDE, SIDE))
        for start in range(0, len(small), 256):  # bounds the memory
            grey = torch.from_numpy(images.array[start : start + 256]).float().mean(dim=1, keepdim=True)
            small[start : start + 256] = adaptive_avg_pool2d(grey, SIDE).round().byte().numpy()[:, 0]
        small.flush()
        return {"pixels": [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images.array]}

    key = digest_of("quick_scan", QUICK_SCAN_VERSION, images.path.name)
    entry = load_or_build(cache_dir, "quick_scan", key, build)
    return Relations(paths, named_groups(entry.about["pixels"]), None, patients, entry.array)


def pooled(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails, `(N, S, S)`, pooled to `(N, 32, 32)`, which keeps what neighbouring slices share.

    Raises:
        ValueError: S is no multiple of 32.
    """
    count, size, _ = thumbnails.shape
    if size % SIDE:
        raise ValueError(f"Expected thumbnails of a multiple of {SIDE} pixels, got {size}.")
    blocks = thumbnails.reshape(count, SIDE, size // SIDE, SIDE, size // SIDE)
    result: NDArray[np.float32] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return result


def nearest_neighbour_accuracy(
    thumbnails: NDArray[np.uint8] | None, labels: Indices, train: Indices, test: Indices
) -> float | None:
    """Return the accuracy of the nearest-neighbour (1-NN) baseline, None without thumbnails.

    Each test image gets the label of the training image whose thumbnail correlates most with its own.

    Args:
        thumbnails: As `pooled` takes them, `(N, S, S)`.
        labels: Label of each image, `(N,)`.
        train: Positions of the training images.
        test: Positions of the test images.
    """
    if thumbnails is None:
        return None
    best, nearest = np.full(len(test), -np.inf, dtype=np.float32), np.zeros(len(test), dtype=np.int64)
    for first in range(0, len(train), TRAIN_ROWS):
        chunk = train[first : first + TRAIN_ROWS]
        known = standardized(pooled(thumbnails[chunk]))
        for start in range(0, len(test), TEST_ROWS):
            rows = slice(start, start + TEST_ROWS)
            similarity = standardized(pooled(thumbnails[test[rows]])) @ known.T
            highest = similarity.max(axis=1)
            nearest[rows] = np.where(highest > best[rows], chunk[similarity.argmax(axis=1)], nearest[rows])
            best[rows] = np.maximum(highest, best[rows])
    return float((labels[nearest] == labels[test]).mean())


def standardized(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return images `(B, H, W)` as rows of mean 0 and length 1, `(B, H * W)`, whose products are correlations.

    >>> standardized(np.array([[[0, 2]], [[9, 1]]], dtype=np.float32)).astype(float).round(2).tolist()
    [[-0.71, 0.71], [0.71, -0.71]]
    """
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    result: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return result
