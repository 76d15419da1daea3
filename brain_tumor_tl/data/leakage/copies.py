"""Copies: which images are copies of each other, by bytes, by pixels, or nearly; and the groups they form.

Near copies are found in two steps. `search` names candidates. Each is aligned to the image (`align`), first at 32 x 32
pixels, which drops most of them, and is a copy if the fine detail agrees. Neighbouring slices of one head agree in
outline, not in detail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brain_tumor_tl.cache import digest_of, load_or_build
from brain_tumor_tl.data.leakage.align import LEVELS, clamp_maps, compare, pool, refine
from brain_tumor_tl.data.leakage.file_info import FileInfo
from brain_tumor_tl.data.leakage.search import (
    LEAST_SIMILARITY,
    NEAREST,
    Descriptors,
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
SEARCH = (SEARCH_VERSION, NEAREST, LEAST_SIMILARITY, KEPT_DETAIL)  # what the pairs depend on besides the images
COARSE_PAIRS, PAIRS = 128, 16  # pairs that are aligned at a time: with more, memory is mapped anew for each tensor


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
        since: Search only for pairs with an image from this position on, as between a set and a second one.
    """
    distinct = first_members(named_groups(pixels))
    described = describe(thumbnails[distinct])
    first_row = int(np.searchsorted(distinct, since))
    searched = [nearest(outlines, first_row) for outlines in (described.whole, described.inside)]
    places, maps = small_matches(described, searched)
    places[:, :2] = torch.from_numpy(distinct)[places[:, :2]]

    def compared(start: int) -> list[Pair]:
        return fine_matches(thumbnails, places[start : start + PAIRS], maps[start : start + PAIRS])

    starts = range(0, len(places), PAIRS)
    chunks = in_threads(compared, starts, len(starts), f"Comparing {len(places)} pairs")
    best: dict[tuple[int, int], Pair] = {}
    for pair in sorted((pair for chunk in chunks for pair in chunk), key=lambda pair: -pair.detail):
        best.setdefault(pair[:2], pair)
    return [pair for _, pair in sorted(best.items())]


def small_matches(described: Descriptors, searched: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the candidates that agree at 16 x 16 and at 32 x 32 pixels, `(P, 3)`, and their maps, `(P, 4)`.

    Args:
        described: Descriptors of all images.
        searched: First, second and turn of the candidates by whole images, and of those by their boxes, `(C, 3)` each.
    """
    candidates = torch.cat(list(searched))
    by_box = torch.arange(len(candidates)) >= len(searched[0])

    def matched(start: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.arange(start, min(start + COARSE_PAIRS, len(candidates)))
        first, second, turns = candidates[rows].unbind(1)
        one, other = described.small[first].float(), each_turned(described.small[second].float(), turns)
        of_boxes = box_maps(described.boxes[first], turned_boxes(described.boxes[second], turns))
        maps = clamp_maps(torch.where(by_box[rows, None], of_boxes, torch.tensor([1.0, 0.0, 1.0, 0.0])))
        agree, maps, _ = refine(pool(one, 2), pool(other, 2), maps, LEVELS[0])
        left = agree.nonzero()[:, 0]
        agree, maps, detail = refine(one[left], other[left], maps[left], LEVELS[1])
        return candidates[rows[left[agree]]], maps[agree], detail[agree]

    starts = range(0, len(candidates), COARSE_PAIRS)
    chunks = list(in_threads(matched, starts, len(starts), f"Comparing {len(candidates)} candidates"))
    if not chunks:
        return candidates, torch.zeros(0, 4)
    places, maps, detail = map(torch.cat, zip(*chunks, strict=True))
    order = detail.argsort(descending=True, stable=True)  # of a candidate of both searches, the better map
    _, group = np.unique(places.numpy(), axis=0, return_inverse=True)
    kept = order[first_members(group.reshape(-1)[order])]
    return places[kept], maps[kept]


def fine_matches(images: NDArray[np.uint8], places: Tensor, maps: Tensor) -> list[Pair]:
    """Return the pairs, `(P, 3)`, whose detail agrees from `KEPT_DETAIL` on, starting from the maps `(P, 4)`."""
    first, second = (torch.from_numpy(images[places[:, column].numpy()]).float() for column in (0, 1))
    one, other = pool(first, LEVELS[-1].pooling), each_turned(pool(second, LEVELS[-1].pooling), places[:, 2])
    left = torch.arange(len(places))
    for level in LEVELS[2:]:  # both of 64 x 64 pixels
        agree, maps, _ = refine(one[left], other[left], maps, level)
        left, maps = left[agree], maps[agree]
    places = places[left]
    agreement = compare(first[left], each_turned(second[left], places[:, 2]), maps)
    kept = agreement.detail >= KEPT_DETAIL
    numbers = torch.stack([agreement.detail, agreement.grey, agreement.overlap], 1)[kept].tolist()
    return [Pair(*place, *values) for place, values in zip(places[kept].tolist(), numbers, strict=True)]
