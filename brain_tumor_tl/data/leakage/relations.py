"""Relations: which images have more in common than a class: pixels, a patient, a run of file numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d

from brain_tumor_tl.cache import CacheEntry, digest_of, load_or_build, new_array
from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.leakage.copies import find_copies
from brain_tumor_tl.data.leakage.file_info import load_file_info
from brain_tumor_tl.data.splits.groups import Indices, alone, joined, named_groups
from brain_tumor_tl.data.splits.random import Split
from brain_tumor_tl.data.splits.series import find_series

GLANCE_VERSION = 1  # part of the cache's key: raise it when what a glance sees changes
SIDE = 32  # pixels of the pictures by which runs and nearest neighbours are found
KNOWN, SOUGHT = 8192, 512  # training and test pictures that are compared at a time: bounds the memory


@dataclass(frozen=True)
class Relations:
    """Which images have more in common than a class.

    Attributes:
        paths: Path of each image.
        identical: Groups of images with the same pixels, `(N,)`; None where nobody looked.
        copies: Groups of images that are copies of each other, near ones too, `(N,)`; None where nobody looked.
        patients: Groups of images of one patient, `(N,)`; None where patients are not known.
        thumbnails: A small grey picture of each image, uint8 `(N, S, S)`; None where nobody looked.
    """

    paths: Sequence[str]
    identical: Indices | None = None
    copies: Indices | None = None
    patients: Indices | None = None
    thumbnails: NDArray[np.uint8] | None = None

    def groups(self, by: str) -> Indices:
        """Return which images stay together, `(N,)`.

        Args:
            by: "random" for none, "grouped" for copies and a patient's images, "runs" for these and runs of
                neighbouring file numbers.

        Raises:
            ValueError: That is not known of these images.
        """
        if by == "random":
            return alone(len(self.paths))
        found = [self.copies_or_refuse(), *self._of_patients()]
        if by == "runs":
            assert self.thumbnails is not None, "whoever looked for copies has them"
            found.append(find_series(self.paths, pooled(self.thumbnails)))
        return joined(len(self.paths), *found)

    def known_groups(self, by: str) -> Indices | None:
        """Return the groups that a figure's images are not independent within, None where nobody looked.

        They are of identical images where nobody looked for near copies.

        Args:
            by: What the split keeps together; the groups are copies and patients at least.
        """
        if self.copies is None:
            return None if self.identical is None else joined(len(self.paths), self.identical, *self._of_patients())
        return self.groups("runs" if by == "runs" else "grouped")

    def _of_patients(self) -> list[Indices]:
        return [] if self.patients is None else [self.patients]

    def copies_or_refuse(self) -> Indices:
        """Return the groups of copies.

        Raises:
            ValueError: Nobody looked for copies.
        """
        if self.copies is None:
            raise ValueError("This split needs to know which images are copies. Give data.find_copies=auto.")
        return self.copies


def find_relations(
    index: Index, images: CacheEntry, cache_dir: Path, patients: Indices | None, wanted: str | bool, needed: bool
) -> Relations:
    """Look for copies among images, or open what was found before.

    Args:
        index: The images.
        images: Decoded, uint8 `(N, C, H, W)`.
        cache_dir: Where what is found is kept.
        patients: Groups of images of one patient, None where patients are not known.
        wanted: Whether to look; "auto" leaves near copies, which take a minute to find, to splits that need them.
        needed: Whether the split depends on it.
    """
    if wanted is False:
        return Relations(index.paths, patients=patients)
    if wanted == "auto" and not needed:
        return glance(index.paths, images, cache_dir, patients)
    read = load_file_info(index, cache_dir)
    identical = named_groups(read.column("pixels"))
    return Relations(index.paths, identical, find_copies(read, cache_dir).groups, patients, read.thumbnails)


def glance(paths: Sequence[str], images: CacheEntry, cache_dir: Path, patients: Indices | None) -> Relations:
    """Return what decoded images tell without another look at the files: which are equal, and small pictures.

    Images of different files that are equal once resized count as identical.
    """

    def build(path: Path) -> dict[str, Any]:
        small = new_array(path, np.uint8, (len(images.array), SIDE, SIDE))
        for start in range(0, len(small), 256):  # bounds the memory
            grey = torch.from_numpy(images.array[start : start + 256]).float().mean(dim=1, keepdim=True)
            small[start : start + 256] = adaptive_avg_pool2d(grey, SIDE).round().byte().numpy()[:, 0]
        small.flush()
        return {"pixels": [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images.array]}

    stored = load_or_build(cache_dir, "glance", digest_of("glance", GLANCE_VERSION, images.path.name), build)
    return Relations(paths, named_groups(stored.about["pixels"]), None, patients, stored.array)


def nearest_neighbour_of_split(relations: Relations, labels: Indices, split: Split) -> float | None:
    """Return the share of test images whose most alike training image has their label, None where nobody looked.

    Args:
        relations: With the thumbnails that are compared.
        labels: Label of each image, `(N,)`.
        split: Whose test part to look up in whose training part.
    """
    if relations.thumbnails is None:
        return None
    return nearest_neighbour_accuracy(relations.thumbnails, labels, split.train, split.test)


def pooled(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails, `(N, S, S)`, pooled to `(N, 32, 32)`: what two slices share, less what two scans differ in.

    Raises:
        ValueError: S is no multiple of 32.
    """
    count, size, _ = thumbnails.shape
    if size % SIDE:
        raise ValueError(f"Expected thumbnails of a multiple of {SIDE} pixels, got {size}.")
    result = np.empty((count, SIDE, SIDE), dtype=np.float32)
    for start in range(0, count, 1024):  # bounds the memory
        blocks = thumbnails[start : start + 1024].reshape(-1, SIDE, size // SIDE, SIDE, size // SIDE)
        result[start : start + 1024] = blocks.mean(axis=(2, 4), dtype=np.float32)
    return result


def nearest_neighbour_accuracy(thumbnails: NDArray[np.uint8], labels: Indices, train: Indices, test: Indices) -> float:
    """Return the share of test images whose most correlated training image has their label.

    Args:
        thumbnails: As `pooled` takes them, `(N, S, S)`.
        labels: Label of each image, `(N,)`.
        train: Positions of the images that are looked up.
        test: Positions of the images to find.
    """
    best, nearest = np.full(len(test), -np.inf, dtype=np.float32), np.zeros(len(test), dtype=np.int64)
    for first in range(0, len(train), KNOWN):
        chunk = train[first : first + KNOWN]
        known = standardized(pooled(thumbnails[chunk]))
        for start in range(0, len(test), SOUGHT):
            rows = slice(start, start + SOUGHT)
            likeness = standardized(pooled(thumbnails[test[rows]])) @ known.T
            found = likeness.argmax(axis=1)
            highest = likeness[np.arange(len(found)), found]
            closer = highest > best[rows]
            nearest[rows] = np.where(closer, chunk[found], nearest[rows])
            best[rows] = np.maximum(highest, best[rows])
    return float((labels[nearest] == labels[test]).mean())


def standardized(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pictures `(B, H, W)` as rows of mean 0 and length 1, `(B, H * W)`, whose products are correlations.

    >>> standardized(np.array([[[0, 2]], [[9, 1]]], dtype=np.float32)).astype(float).round(2).tolist()
    [[-0.71, 0.71], [0.71, -0.71]]
    """
    rows = pictures.reshape(len(pictures), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    result: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return result
