"""Copies: which images are copies of each other, by bytes, by pixels, or nearly; and the groups they form.

Near copies are found in two steps. Search: each image is pooled to 16 x 16 grey values, once as it is and once cropped
to the bounding box of its content, centred and scaled to length 1. Its nearest neighbours among all images, in any of
the 8 orientations, become candidates. Similarities are computed in blocks, so memory grows with N and not with N x N.
Check: each candidate is aligned to the image (`align`) and is a copy if the fine detail agrees. Neighbouring slices of
one head agree in outline, not in detail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from brain_tumor_tl.cache import digest_of, load_or_build
from brain_tumor_tl.data.leakage.align import LEVELS, align, clamp_maps, pool, refine, warp
from brain_tumor_tl.data.leakage.file_info import FileInfo
from brain_tumor_tl.data.splits.groups import Indices, named_groups, numbered, root_of, union

SEARCH_VERSION = 1  # part of the cache's key: raise it when the resulting pairs change
NEAREST = 24  # candidates of each image in each of the two searches
LEAST_SIMILARITY = 0.5  # correlation of the 16 x 16 values that a candidate must exceed
KEPT_DETAIL = 0.85  # pairs from here on are kept, so that the threshold's effect can be shown
DETAIL, GREY, OVERLAP = 0.95, 0.98, 0.7  # least values of a copy; docs/audit.md shows the effect of others
SEARCH = (SEARCH_VERSION, NEAREST, LEAST_SIMILARITY, KEPT_DETAIL)  # what the pairs depend on besides the images
ROWS = 256  # images that are compared with all others at a time
COARSE_PAIRS, PAIRS = 1024, 64  # pairs that are aligned at a time; few enough to stay in the processor's cache
TURNS = (
    "as it is", "turned 90°", "turned 180°", "turned 270°",
    "mirrored", "mirrored, turned 90°", "mirrored, turned 180°", "mirrored, turned 270°",
)  # fmt: skip


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


class Descriptors(NamedTuple):
    """What the search compares of each image.

    Attributes:
        small: Pooled to `(N, 16, 16)`.
        boxes: Bounding boxes of the content, `(N, 4)`.
        whole: Outlines of the whole images, vectors of length 1, `(N, 16, 16)`.
        inside: Outlines of the bounding boxes' content, `(N, 16, 16)`.
    """

    small: Tensor
    boxes: Tensor
    whole: Tensor
    inside: Tensor


@dataclass(frozen=True)
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
    candidates = [(*candidate, 0) for candidate in nearest(described.whole, first_row)]
    candidates += [(*candidate, 1) for candidate in nearest(described.inside, first_row)]
    places, maps = coarse_matches(described, torch.tensor(candidates, dtype=torch.int64).view(-1, 4))
    places[:, :2] = torch.from_numpy(distinct)[places[:, :2]]
    found: list[Pair] = []
    for start in track(range(0, len(places), PAIRS), f"Comparing {len(places)} pairs", transient=True):
        found += fine_matches(thumbnails, places[start : start + PAIRS], maps[start : start + PAIRS])
    best: dict[tuple[int, int], Pair] = {}
    for pair in sorted(found, key=lambda pair: -pair.detail):
        best.setdefault(pair[:2], pair)
    return [pair for _, pair in sorted(best.items())]


def turned(images: Tensor, turn: int) -> Tensor:
    """Return images, `(..., S, S)`, in an orientation of `TURNS`: first mirrored left to right, then turned left."""
    mirrored = images.flip(-1) if turn >= 4 else images
    return torch.rot90(mirrored, turn % 4, (-2, -1))


def inverse(turn: int) -> int:
    """Return the orientation that undoes another; a mirrored one undoes itself."""
    return turn if turn >= 4 else -turn % 4


def content_boxes(images: Tensor) -> Tensor:
    """Return the bounding box of each image's content, as the map to it from the whole image, `(B, 4)`.

    A row or column is content if 2 % of its pixels are brighter than the image's darkest by 15 % of its range.

    Args:
        images: `(B, S, S)` in 0..255.
    """
    size, sample = images.shape[-1], images[:, ::2, ::2].flatten(1)
    low, high = (sample.kthvalue(max(1, round(share * sample.shape[1])), dim=1).values for share in (0.01, 0.99))
    bright = (images > (low + 0.15 * (high - low))[:, None, None]).float()
    ends = []
    for axis in (1, 2):
        content = bright.mean(axis) > 0.02
        content = content | ~content.any(1, keepdim=True)
        begin, end = content.float().argmax(1), size - content.flip(1).float().argmax(1)
        ends += [(end - begin) / size, (begin + end) / size - 1]
    return torch.stack(ends, 1)


def describe(images: NDArray[np.uint8]) -> Descriptors:
    """Return what the search compares of images, uint8 `(N, 128, 128)`."""
    chunks = []
    for start in range(0, len(images), ROWS):
        chunk = torch.from_numpy(np.asarray(images[start : start + ROWS], dtype=np.float32))
        boxes = content_boxes(chunk)
        inside = warp(chunk[:, None], boxes)[0][:, 0]
        chunks.append((pool(chunk, LEVELS[0][0]), boxes, outline(chunk), outline(inside)))
    return Descriptors(*map(torch.cat, zip(*chunks, strict=True)))


def outline(images: Tensor) -> Tensor:
    """Return images pooled to 16 x 16, with mean 0 and length 1; 0 for a flat image."""
    coarse = F.adaptive_avg_pool2d(images[:, None], 16)[:, 0]
    centred = coarse - coarse.mean((1, 2), keepdim=True)
    return F.normalize(centred.flatten(1), eps=1.0).view_as(coarse)


def nearest(outlines: Tensor, since: int = 0) -> list[tuple[int, int, int]]:
    """Return `(first, second, turn)` of each outline and its nearest ones in any orientation, each pair once.

    Args:
        outlines: `(N, 16, 16)`, each of length 1.
        since: Search only for the neighbours of outlines from this position on.
    """
    found: set[tuple[int, int, int]] = set()
    count = min(NEAREST + 1, len(outlines))
    in_turns = [turned(outlines, turn).flatten(1).T.contiguous() for turn in range(len(TURNS))]
    starts = range(since, len(outlines), ROWS)
    for start in track(starts, f"Searching {len(outlines)} images", transient=True):
        rows = outlines[start : start + ROWS].flatten(1)
        best, turns = rows @ in_turns[0], torch.zeros(len(rows), len(outlines), dtype=torch.uint8)
        for turn in range(1, len(TURNS)):
            similarity = rows @ in_turns[turn]
            turns.masked_fill_(similarity > best, turn)
            torch.maximum(best, similarity, out=best)
        values, places = best.topk(count, dim=1)
        for row, place in (values > LEAST_SIMILARITY).nonzero().tolist():
            one, two = start + row, int(places[row, place])
            turn = int(turns[row, two])
            if one != two:
                found.add((one, two, turn) if one < two else (two, one, inverse(turn)))
    return sorted(found)


def coarse_matches(described: Descriptors, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return the candidates, `(P, 3)`, that agree after alignment at 16 x 16 pixels, and their maps, `(P, 4)`.

    Args:
        described: Descriptors of all images.
        candidates: First, second, turn, and 1 if found by their boxes, `(C, 4)`.
    """
    _, steps, least = LEVELS[0]
    first, second, turns, by_box = candidates.unbind(1)
    of_boxes = box_maps(described.boxes[first], turned_boxes(described.boxes[second], turns))
    maps = clamp_maps(torch.where(by_box[:, None] > 0, of_boxes, torch.tensor([1.0, 0.0, 1.0, 0.0])))
    agree = torch.zeros(len(candidates), dtype=torch.bool)
    for rows in torch.split(torch.arange(len(candidates)), COARSE_PAIRS):
        small = each_turned(described.small[second[rows]], turns[rows])
        agree[rows], maps[rows] = refine(described.small[first[rows]], small, maps[rows], steps, least)
    return candidates[agree, :3], maps[agree]


def fine_matches(images: NDArray[np.uint8], places: Tensor, maps: Tensor) -> list[Pair]:
    """Return the pairs, `(P, 3)`, whose detail agrees from `KEPT_DETAIL` on, starting from the maps `(P, 4)`."""
    first, second = (torch.from_numpy(images[places[:, column].numpy()]).float() for column in (0, 1))
    left, agreement = align(first, each_turned(second, places[:, 2]), maps, level=1)
    kept = agreement.detail >= KEPT_DETAIL
    numbers = torch.stack([agreement.detail, agreement.grey, agreement.overlap], 1)[kept].tolist()
    return [Pair(*place, *values) for place, values in zip(places[left[kept]].tolist(), numbers, strict=True)]


def each_turned(images: Tensor, turns: Tensor) -> Tensor:
    """Return images, `(B, S, S)`, each in its own orientation, `(B,)`."""
    result = images.clone()
    for turn in range(1, len(TURNS)):
        result[turns == turn] = turned(images[turns == turn], turn)
    return result


def turned_boxes(boxes: Tensor, turns: Tensor) -> Tensor:
    """Return the boxes, `(B, 4)`, of images that are each in its own orientation, `(B,)`."""
    mirrored = boxes * torch.tensor([1.0, -1.0, 1.0, 1.0])
    result = torch.where((turns >= 4)[:, None], mirrored, boxes)
    for quarter in range(3):
        width, x, height, y = result.unbind(1)
        result = torch.where((turns % 4 > quarter)[:, None], torch.stack([height, y, width, -x], 1), result)
    return result


def box_maps(first: Tensor, second: Tensor) -> Tensor:
    """Return the maps, `(B, 4)`, from each point of the first boxes to the same point of the second."""
    scales = second[:, 0::2] / first[:, 0::2]
    shifts = second[:, 1::2] - scales * first[:, 1::2]
    return torch.stack([scales, shifts], dim=2).flatten(1)
