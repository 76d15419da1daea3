"""Duplicates: which images are copies of each other, by bytes, by pixels, or near enough; and the groups they form.

Near copies are found in two steps. Search: each picture is pooled to 16 x 16 grey values, once as it is and once cut to
the box that its content fills, freed of the coarsest shades and scaled to length 1; the nearest few of every other
picture, over the 8 turns and mirrorings, become candidates. It is a blocked matrix product, so that memory grows with N
and not with N x N. Check: each candidate is laid over the picture (`align`), and is a copy if the fine detail agrees.
Neighbouring slices of one head agree in outline, not in detail.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.leakage.align import LEVELS, align, bounded, laid, shrunk, warp
from brain_tumor_tl.data.leakage.file_info import FileInfo, load_file_info
from brain_tumor_tl.data.splits.groups import Indices, named_groups, numbered, root_of, union

SEARCH_VERSION = 1  # part of the cache's key: raise it when other pairs come out
NEAREST = 24  # candidates of each picture in each of the two searches
LEAST_ALIKE = 0.5  # correlation of the 16 x 16 values below which no candidate is looked at
KEPT_DETAIL = 0.85  # pairs from here on are kept, so that the threshold's effect can be shown
DETAIL, GREY = 0.95, 0.98  # of a copy; docs/audit.md has what other values would find
OVERLAP = 0.7  # share of the picture that a copy must cover
SEARCH = (SEARCH_VERSION, NEAREST, LEAST_ALIKE, KEPT_DETAIL)  # what the pairs that come out depend on, but for pictures
ROWS = 256  # pictures that are compared with all others at a time
COARSE_PAIRS, PAIRS = 1024, 64  # pairs that are aligned at a time; few enough to stay in the processor's cache
TURNS = (
    "as it is", "turned 90°", "turned 180°", "turned 270°",
    "mirrored", "mirrored, turned 90°", "mirrored, turned 180°", "mirrored, turned 270°",
)  # fmt: skip


class Pair(NamedTuple):
    """Two images that may be copies.

    Attributes:
        first: Position of the earlier image.
        second: Position of the later one.
        turn: What is done to the later one before it lies over the earlier; position in `TURNS`.
        detail: Correlation of the fine detail.
        grey: Correlation of the grey values.
        overlap: Share of the earlier picture that the later covers.
    """

    first: int
    second: int
    turn: int
    detail: float
    grey: float
    overlap: float

    def is_copy(self, detail: float, grey: float, overlap: float) -> bool:
        """Tell whether the images agree enough by all three."""
        return self.detail >= detail and self.grey >= grey and self.overlap >= overlap


class Searched(NamedTuple):
    """What pictures are searched by: pooled to `(N, 16, 16)`, their content's boxes `(N, 4)`, and two unit vectors.

    `whole` is the outline of the whole picture and `inside` that of its content's box, `(N, 16, 16)` each.
    """

    small: Tensor
    boxes: Tensor
    whole: Tensor
    inside: Tensor


@dataclass(frozen=True)
class Duplicates:
    """The copies in a data set.

    Attributes:
        files: Group of each image by the bytes of its file, `(N,)`.
        pixels: Group of each image by its decoded pixels, `(N,)`; files that are equal have equal pixels.
        groups: Group of each image by all that makes a copy, near copies included, `(N,)`. Indices are numbered from 0
            in the order of their first members, here and in the other two.
        pairs: The near copies that joined groups of equal pixels, each by its first image.
        looser: Pairs that agree less than a near copy does, from `KEPT_DETAIL` on.
    """

    files: Indices
    pixels: Indices
    groups: Indices
    pairs: tuple[Pair, ...]
    looser: tuple[Pair, ...] = ()


def load_duplicates(index: Index, cache_dir: Path) -> Duplicates:
    """Find the copies among the images of an index, or open what was found from the cache.

    Args:
        index: Images that can be decoded.
        cache_dir: Where files' facts and pairs are kept.

    Raises:
        ValueError: A file can't be decoded, so that the groups would not be those of this index.
    """
    facts = load_file_info(index, cache_dir)
    if len(facts.index) != len(index):
        raise ValueError(f"Expected an index of images that can be decoded, {len(index) - len(facts.index)} can't be.")
    return find_copies(facts, cache_dir)


def find_copies(facts: FileInfo, cache_dir: Path) -> Duplicates:
    """Find the copies among files that were read, or open what was found from the cache."""
    digests = facts.column("pixels")

    def build(path: Path) -> dict[str, Any]:
        return write_pairs(path, near_pairs(facts.thumbnails, digests))

    stored = load_or_build(cache_dir, "duplicates", digest_of("duplicates", SEARCH, facts.key), build)
    return grouped(facts.index.digests, digests, read_pairs(stored.array))


def write_pairs(path: Path, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Write pairs to a .npy file, and return what to note beside it."""
    np.save(path, np.array(pairs, dtype=np.float64).reshape(-1, len(Pair._fields)))
    return {"columns": Pair._fields}


def read_pairs(rows: NDArray[np.float64]) -> list[Pair]:
    """Return the pairs that stand in an array as `write_pairs` writes it."""
    return [Pair(int(row[0]), int(row[1]), int(row[2]), *map(float, row[3:])) for row in rows]


def find_duplicates(thumbnails: NDArray[np.uint8], files: Sequence[str], pixels: Sequence[str]) -> Duplicates:
    """Find copies, near copies included; nothing is read or kept on disk.

    Args:
        thumbnails: One grey picture of each image, uint8 `(N, 128, 128)`.
        files: Digest of each file's bytes.
        pixels: Digest of each image's decoded pixels.
    """
    return grouped(files, pixels, near_pairs(thumbnails, pixels))


def grouped(
    files: Sequence[str], pixels: Sequence[str], pairs: Sequence[Pair], detail: float = DETAIL, grey: float = GREY
) -> Duplicates:
    """Return the groups that digests and pairs make.

    Args:
        files: Digest of each file's bytes.
        pixels: Digest of each image's decoded pixels.
        pairs: What was found alike.
        detail: Least correlation of the fine detail of a copy.
        grey: Least correlation of the grey values of a copy.
    """
    copies = [pair for pair in pairs if pair.is_copy(detail, grey, OVERLAP)]
    chosen = set(copies)
    by_pixels = named_groups(pixels)
    first = first_members(by_pixels)
    joined = [(int(first[group]), position) for position, group in enumerate(by_pixels)]
    joined += [(pair.first, pair.second) for pair in copies]
    looser = tuple(pair for pair in pairs if pair not in chosen)
    return Duplicates(named_groups(files), by_pixels, joined_groups(len(files), joined), tuple(copies), looser)


def first_members(groups: Indices) -> Indices:
    """Return the position of each group's first member."""
    return np.unique(groups, return_index=True)[1].astype(np.int64)


def joined_groups(count: int, pairs: Sequence[tuple[int, int]]) -> Indices:
    """Return the group of each of `count` things where pairs are in one group, and so is what they are joined to.

    >>> joined_groups(5, [(3, 1), (4, 3)]).tolist()
    [0, 1, 2, 1, 1]
    """
    parent = list(range(count))
    for one, other in pairs:
        union(parent, one, other)
    return numbered(np.array([root_of(parent, member) for member in range(count)], dtype=np.int64))


def near_pairs(thumbnails: NDArray[np.uint8], pixels: Sequence[str], since: int = 0) -> list[Pair]:
    """Return the pairs whose detail agrees from `KEPT_DETAIL` on, among the first images of each group of equal pixels.

    Args:
        thumbnails: One grey picture of each image, uint8 `(N, 128, 128)`.
        pixels: Digest of each image's decoded pixels.
        since: Only pairs with an image from this position on are looked for, as between a set and a second one.
    """
    distinct = first_members(named_groups(pixels))
    pictures = thumbnails[distinct]
    searched = described(pictures)
    start = int(np.searchsorted(distinct, since))
    views = (searched.whole, searched.inside)
    candidates = [(*place, by_box) for by_box, vectors in enumerate(views) for place in nearest(vectors, start)]
    places, maps = coarsely_alike(searched, torch.tensor(candidates, dtype=torch.int64).view(-1, 4))
    best: dict[tuple[int, int], Pair] = {}
    for start in track(range(0, len(places), PAIRS), f"Comparing {len(places)} pairs", transient=True):
        for pair in checked(pictures, places[start : start + PAIRS], maps[start : start + PAIRS]):
            known = best.get(pair[:2])
            if known is None or pair.detail > known.detail:
                best[pair[:2]] = pair
    return [
        pair._replace(first=int(distinct[pair.first]), second=int(distinct[pair.second]))
        for _, pair in sorted(best.items())
    ]


def turned(pictures: Tensor, turn: int) -> Tensor:
    """Return pictures, `(..., S, S)`, under one of `TURNS`: mirrored left to right first, then turned anticlockwise."""
    mirrored = pictures.flip(-1) if turn >= 4 else pictures
    return torch.rot90(mirrored, turn % 4, (-2, -1))


def undone(turn: int) -> int:
    """Return the turn that undoes another; a mirroring undoes itself."""
    return turn if turn >= 4 else -turn % 4


def content_boxes(pictures: Tensor) -> Tensor:
    """Return the box that each picture's content fills, as the map to it from the whole picture, `(B, 4)`.

    A row or column is content if 2 % of it are brighter than the picture's darkest by 15 % of its range.

    Args:
        pictures: `(B, S, S)` in 0..255.
    """
    size, some = pictures.shape[-1], pictures[:, ::2, ::2].flatten(1)
    low, high = (some.kthvalue(max(1, round(share * some.shape[1])), dim=1).values for share in (0.01, 0.99))
    bright = (pictures > (low + 0.15 * (high - low))[:, None, None]).float()
    ends = []
    for along in (1, 2):
        held = bright.mean(along) > 0.02
        held = held | ~held.any(1, keepdim=True)
        begin, end = held.float().argmax(1), size - held.flip(1).float().argmax(1)
        ends += [(end - begin) / size, (begin + end) / size - 1]
    return torch.stack(ends, 1)


def described(pictures: NDArray[np.uint8]) -> Searched:
    """Return what pictures, uint8 `(N, 128, 128)`, are searched by."""
    parts = []
    for start in range(0, len(pictures), ROWS):
        part = torch.from_numpy(np.asarray(pictures[start : start + ROWS], dtype=np.float32))
        boxes = content_boxes(part)
        parts.append((shrunk(part, LEVELS[0][0]), boxes, outline(part), outline(warp(part[:, None], boxes)[0][:, 0])))
    return Searched(*map(torch.cat, zip(*parts, strict=True)))


def outline(pictures: Tensor) -> Tensor:
    """Return pictures pooled to 16 x 16, less their coarsest shades, of mean 0 and length 1; 0 where one is flat."""
    coarse = F.adaptive_avg_pool2d(pictures[:, None], 16)[:, 0]
    plain = coarse - coarse.mean((1, 2), keepdim=True)
    return F.normalize(plain.flatten(1), eps=1.0).view_as(coarse)


def nearest(vectors: Tensor, since: int = 0) -> list[tuple[int, int, int]]:
    """Return `(first, second, turn)` of each vector and the vectors nearest to it under any turn, each pair once.

    Args:
        vectors: `(N, 16, 16)`, each of length 1.
        since: Only vectors from this position on look for others.
    """
    found: set[tuple[int, int, int]] = set()
    count = min(NEAREST + 1, len(vectors))
    everyone = [turned(vectors, turn).flatten(1).T.contiguous() for turn in range(len(TURNS))]
    starts = range(since, len(vectors), ROWS)
    for start in track(starts, f"Searching {len(vectors)} pictures", transient=True):
        rows = vectors[start : start + ROWS].flatten(1)
        best, turn = rows @ everyone[0], torch.zeros(len(rows), len(vectors), dtype=torch.uint8)
        for other in range(1, len(TURNS)):
            alike = rows @ everyone[other]
            turn.masked_fill_(alike > best, other)
            torch.maximum(best, alike, out=best)
        values, places = best.topk(count, dim=1)
        for row, place in (values > LEAST_ALIKE).nonzero().tolist():
            one, two = start + row, int(places[row, place])
            by = int(turn[row, two])
            if one != two:
                found.add((one, two, by) if one < two else (two, one, undone(by)))
    return sorted(found)


def coarsely_alike(searched: Searched, candidates: Tensor) -> tuple[Tensor, Tensor]:
    """Return those candidates, `(P, 3)`, that agree once laid over each other at 16 x 16, and the maps, `(P, 4)`.

    Args:
        searched: Of all pictures.
        candidates: First, second, turn, and 1 where they were found by the boxes, `(C, 4)`.
    """
    _, steps, least = LEVELS[0]
    places, maps = [candidates[:0, :3]], [torch.zeros(0, 4)]
    for part in torch.split(candidates, COARSE_PAIRS):
        first, second, turn, by_box = part.unbind(1)
        start = torch.tensor([1.0, 0.0, 1.0, 0.0]).repeat(len(part), 1)
        start = torch.where(
            by_box[:, None] > 0, between(searched.boxes[first], turned_boxes(searched.boxes[second], turn)), start
        )
        small = each_turned(searched.small[second], turn)
        agree, laid_maps = laid(searched.small[first], small, bounded(start), steps, least)
        places.append(part[agree, :3])
        maps.append(laid_maps[agree])
    return torch.cat(places), torch.cat(maps)


def checked(pictures: NDArray[np.uint8], places: Tensor, maps: Tensor) -> list[Pair]:
    """Return those pairs, `(P, 3)`, whose detail agrees from `KEPT_DETAIL` on, starting from the maps `(P, 4)`."""
    first, second = (torch.from_numpy(pictures[places[:, side].numpy()]).float() for side in (0, 1))
    left, agreement = align(first, each_turned(second, places[:, 2]), maps, level=1)
    kept = agreement.detail >= KEPT_DETAIL
    numbers = torch.stack([agreement.detail, agreement.grey, agreement.overlap], 1)[kept].tolist()
    return [Pair(*map(int, place), *values) for place, values in zip(places[left[kept]].tolist(), numbers, strict=True)]


def each_turned(pictures: Tensor, turns: Tensor) -> Tensor:
    """Return pictures, `(B, S, S)`, each under its own turn, `(B,)`."""
    result = pictures.clone()
    for turn in range(1, len(TURNS)):
        those = turns == turn
        result[those] = turned(pictures[those], turn)
    return result


def turned_boxes(boxes: Tensor, turns: Tensor) -> Tensor:
    """Return the boxes, `(B, 4)`, of pictures that are each under its own turn, `(B,)`."""
    mirrored = boxes * torch.tensor([1.0, -1.0, 1.0, 1.0])
    result = torch.where((turns >= 4)[:, None], mirrored, boxes)
    for quarter in range(3):
        width, x, height, y = result.unbind(1)
        result = torch.where((turns % 4 > quarter)[:, None], torch.stack([height, y, width, -x], 1), result)
    return result


def between(first: Tensor, second: Tensor) -> Tensor:
    """Return the maps, `(B, 4)`, that take each point in a first box to the same point in the second."""
    scales = second[:, 0::2] / first[:, 0::2]
    shifts = second[:, 1::2] - scales * first[:, 1::2]
    return torch.stack([scales, shifts], dim=2).flatten(1)
