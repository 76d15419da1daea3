"""Copies: which images are copies of each other, by bytes, by pixels, or nearly; and the groups they form.

Near copies are found in two steps. `search` names candidates. Each is aligned to the image (`align`), first at 32 x 32
pixels, which drops most of them, and is a copy if the fine detail agrees. Neighbouring slices of one head agree in
outline, not in detail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brain_tumor_tl.cache import digest_of, load_or_build
from brain_tumor_tl.data.leakage.align import LEVELS, Alignment, Level, clamp_maps, compare, pool, refine
from brain_tumor_tl.data.leakage.file_info import THUMBNAIL, FileInfo
from brain_tumor_tl.data.leakage.search import (
    COMPARED,
    LEAST_SIMILARITY,
    NEAREST,
    PER_CELL,
    box_maps,
    describe,
    each_turned,
    in_threads,
    nearest,
    turned_boxes,
)
from brain_tumor_tl.data.splits.groups import Indices, named_groups, numbered, root_of, union

SEARCH_VERSION = 2  # part of the cache's key: raise it when the resulting pairs change
KEPT_DETAIL = 0.85  # pairs from here on are kept, so that the threshold's effect can be shown
DETAIL, GREY, OVERLAP = 0.95, 0.97, 0.5  # least values of a copy; docs/audit.md shows the effect of others
SEARCH = (
    SEARCH_VERSION,
    NEAREST,
    LEAST_SIMILARITY,
    COMPARED,
    PER_CELL,
    KEPT_DETAIL,
)  # what the pairs depend on besides the images
KINDS = ("identical files", "identical pixels", "near copies")  # of copies; each includes those before it
BLOCK = 2**17  # pixels that are aligned at a time: with more, memory is mapped anew for each tensor

Result = TypeVar("Result")


class Pair(NamedTuple):
    """Two images that may be copies.

    Attributes:
        first: Position of the earlier image.
        second: Position of the later image.
        turn: Orientation in which the later image is aligned to the earlier; position in `TURNS`.
        detail: Correlation of the fine detail.
        grey: Correlation of the grey values.
        overlap: Share of the earlier image that the later covers.
    """

    first: int
    second: int
    turn: int
    detail: float
    grey: float
    overlap: float

    def is_copy(self, detail: float = DETAIL) -> bool:
        """Tell whether the images agree enough in detail, grey values and overlap."""
        return self.detail >= detail and self.grey >= GREY and self.overlap >= OVERLAP


@dataclass(frozen=True, eq=False)
class Copies:
    """The copies in a data set. Groups are numbered from 0 in the order of their first members.

    Attributes:
        files: Group of each image by the bytes of its file, `(N,)`.
        pixels: Group of each image by its decoded pixels, `(N,)`; identical files have identical pixels.
        groups: Group of each image by all kinds of copies, near copies included, `(N,)`.
        pairs: The near copies that connect groups of identical pixels, each by its first image.
        looser: Pairs below the thresholds of a near copy, from `KEPT_DETAIL` on.
    """

    files: Indices
    pixels: Indices
    groups: Indices
    pairs: tuple[Pair, ...]
    looser: tuple[Pair, ...] = ()

    @property
    def kinds(self) -> dict[str, Indices]:
        """The groups of each image by `KINDS`."""
        return dict(zip(KINDS, (self.files, self.pixels, self.groups), strict=True))


def find_copies(info: FileInfo, cache_dir: Path) -> Copies:
    """Find the copies among files, or load them from the cache."""
    pixels = info.column("pixels")
    pairs = cached_pairs(cache_dir, "copies", [info.key], lambda: near_pairs(info.thumbnails, pixels))
    return group_copies(info.index.digests, pixels, pairs)


def cached_pairs(cache_dir: Path, kind: str, keys: Sequence[str], find: Callable[[], Sequence[Pair]]) -> list[Pair]:
    """Return the pairs that `find` returns, or load them from the cache.

    Args:
        cache_dir: Folder of the cache.
        kind: Name of the cache entry.
        keys: Digests of the images that are searched.
        find: Searches them.
    """

    def build(path: Path) -> dict[str, Any]:
        np.save(path, np.array(find(), dtype=np.float64).reshape(-1, len(Pair._fields)))
        return {"columns": Pair._fields}

    rows = load_or_build(cache_dir, kind, digest_of(kind, SEARCH, *keys), build).array.tolist()
    return [Pair(*map(int, row[:3]), *row[3:]) for row in rows]


def group_copies(files: Sequence[str], pixels: Sequence[str], pairs: Sequence[Pair], detail: float = DETAIL) -> Copies:
    """Return the groups that identical digests and near copies form.

    Args:
        files: Digest of each file's bytes.
        pixels: Digest of each image's decoded pixels.
        pairs: Pairs of similar images.
        detail: Least correlation of the fine detail of a near copy.
    """
    near = tuple(pair for pair in pairs if pair.is_copy(detail))
    looser = tuple(pair for pair in pairs if not pair.is_copy(detail))
    by_pixels = named_groups(pixels)
    parent = first_members(by_pixels)[by_pixels].tolist()
    for pair in near:
        union(parent, pair.first, pair.second)
    groups = numbered(np.array([root_of(parent, image) for image in range(len(files))], dtype=np.int64))
    return Copies(named_groups(files), by_pixels, groups, near, looser)


def first_members(groups: Indices) -> Indices:
    """Return the position of each group's first member."""
    return np.unique(groups, return_index=True)[1].astype(np.int64)


def near_pairs(thumbnails: NDArray[np.uint8], pixels: Sequence[str], since: int = 0) -> list[Pair]:
    """Return the pairs whose detail agrees from `KEPT_DETAIL` on, among the first images of each group of equal pixels.

    Args:
        thumbnails: One grey image each, uint8 `(N, 128, 128)`.
        pixels: Digest of each image's decoded pixels.
        since: Search for pairs of an image before this position and one from it on, as between two sets; 0 searches
            for all pairs.
    """
    distinct = first_members(named_groups(pixels))
    described = describe(thumbnails, distinct)
    first_row = int(np.searchsorted(distinct, since))
    whole, inside = (nearest(outlines, first_row) for outlines in (described.whole, described.inside))
    places = torch.cat([whole, inside])
    maps = initial_maps(described.boxes, places, torch.arange(len(places)) >= len(whole))
    for level in LEVELS[:2]:
        places, maps = matches(described.small, places, maps, level)
    places[:, :2] = torch.from_numpy(distinct)[places[:, :2]]
    for level in LEVELS[2:]:
        places, maps = matches(thumbnails, places, maps, level)
    return compared(thumbnails, places, maps)


def initial_maps(boxes: Tensor, candidates: Tensor, by_box: Tensor) -> Tensor:
    """Return the maps that candidates, `(C, 3)`, start from, `(C, 4)`: those of their boxes, or one that moves nothing.

    Args:
        boxes: Bounding box of each image, `(N, 4)`.
        candidates: First, second and turn.
        by_box: Whether the boxes' content is alike, `(C,)`; otherwise whole images are.
    """
    first, second, turns = candidates.unbind(1)
    of_boxes = box_maps(boxes[first], turned_boxes(boxes[second], turns))
    return clamp_maps(torch.where(by_box[:, None], of_boxes, torch.tensor([1.0, 0.0, 1.0, 0.0])))


def matches(images: NDArray[np.uint8], places: Tensor, maps: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """Return the candidates that agree after alignment at a level, each once, `(P, 3)`, and their maps, `(P, 4)`.

    Args:
        images: Of the level's size or more, uint8 `(N, S, S)`.
        places: First, second and turn of candidates, `(C, 3)`; one can be there twice, found by different searches.
        maps: What each starts from, `(C, 4)`.
        level: How to align them.
    """
    pooling = level.pooling * images.shape[1] // THUMBNAIL

    def matched(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        first, second = (pool(float_images(images, places[rows, column]), pooling) for column in (0, 1))
        agree, found, agreement = refine(first, each_turned(second, places[rows, 2]), maps[rows], level)
        return places[rows][agree], found[agree], agreement[agree]

    chunks = list(in_blocks(matched, len(places), (THUMBNAIL // level.pooling) ** 2, f"Comparing {len(places)} pairs"))
    if not chunks:
        return places, maps
    places, maps, agreement = map(torch.cat, zip(*chunks, strict=True))
    best_first = agreement.argsort(descending=True, stable=True).numpy()
    _, kept = np.unique(places.numpy()[best_first], axis=0, return_index=True)
    kept = best_first[kept]
    return places[kept], maps[kept]


def compared(images: NDArray[np.uint8], places: Tensor, maps: Tensor) -> list[Pair]:
    """Return the pairs among candidates, `(P, 3)`, whose detail agrees from `KEPT_DETAIL` on under maps, `(P, 4)`."""

    def agreements(rows: slice) -> Alignment:
        first, second = (float_images(images, places[rows, column]) for column in (0, 1))
        return compare(first, each_turned(second, places[rows, 2]), maps[rows])

    best: dict[tuple[int, int], Pair] = {}
    chunks = list(in_blocks(agreements, len(places), THUMBNAIL**2, f"Comparing {len(places)} pairs"))
    if chunks:
        _, grey, detail, overlap = map(torch.cat, zip(*chunks, strict=True))
        for row in detail.argsort(descending=True, stable=True).tolist():
            first, second, turn = places[row].tolist()
            pair = Pair(first, second, turn, detail[row].item(), grey[row].item(), overlap[row].item())
            if pair.detail >= KEPT_DETAIL:
                best.setdefault(pair[:2], pair)
    return [pair for _, pair in sorted(best.items())]


def in_blocks(compute: Callable[[slice], Result], count: int, pixels: int, label: str) -> Iterator[Result]:
    """Yield what a function returns for each block of rows, as `in_threads` does.

    Args:
        compute: Is called with each block.
        count: Number of rows.
        pixels: Pixels of a row's images.
        label: Text of the progress bar.
    """
    step = BLOCK // pixels
    return in_threads(lambda start: compute(slice(start, start + step)), range(0, count, step), label)


def float_images(images: NDArray[np.uint8], positions: Tensor) -> Tensor:
    """Return some images as float32, `(B, S, S)`."""
    return torch.from_numpy(images[positions.numpy()]).float()
