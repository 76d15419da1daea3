"""Search: which images may be copies, by 16 x 16 grey values in any of the 8 orientations.

Each image is pooled to 16 x 16 grey values, once as it is and once cropped to the bounding box of its content, centred
and scaled to length 1. Its nearest neighbours, in any orientation, are candidates.

Up to 32,768 images are all compared with each other. More are divided into cells of similar images, and each image is
compared with the 32,768 images of the cells nearest to it (an inverted file, Sivic and Zisserman 2003), so that time
grows with the number of images and not with its square.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich import get_console
from rich.progress import track
from torch import Tensor

from brain_tumor_tl.data.leakage.align import pool, warp
from brain_tumor_tl.data.reader import computed_ahead
from brain_tumor_tl.data.splits.groups import Indices

NEAREST = 16  # candidates of each image in each of the two searches
LEAST_SIMILARITY = 0.5  # correlation of the 16 x 16 values that a candidate must exceed
SMALL = 32  # pixels of the images that the first levels of the alignment use; they stay in memory
ROWS, COLUMNS = 64, 2048  # images that are compared at a time; their similarities fit in a processor's cache
CHUNK = 256  # images that are described at a time
COMPARED = 32768  # images that each image is compared with at least, all if there are no more
PER_CELL = 64  # images of a cell, on average
TURNS = (
    "as it is", "turned 90°", "turned 180°", "turned 270°",
    "mirrored", "mirrored, turned 90°", "mirrored, turned 180°", "mirrored, turned 270°",
)  # fmt: skip

Result = TypeVar("Result")


class Descriptors(NamedTuple):
    """What the search compares of each image.

    Attributes:
        small: Pooled to 32 x 32 grey values, uint8 `(N, 32, 32)`.
        boxes: Bounding boxes of the content, `(N, 4)`.
        whole: Outlines of the whole images, vectors of length 1, `(N, 16, 16)`.
        inside: Outlines of the bounding boxes' content, `(N, 16, 16)`.
    """

    small: NDArray[np.uint8]
    boxes: Tensor
    whole: Tensor
    inside: Tensor


def in_threads(compute: Callable[[int], Result], starts: Sequence[int], label: str) -> Iterator[Result]:
    """Yield what a function returns for each start, in order, with one thread for each processor.

    Each of them computes with one thread of PyTorch. Its own threads wait for each other after every operation, which
    takes many times as long once another program keeps one of the processors busy.

    Args:
        compute: Is called with each start, in any thread.
        starts: Its arguments.
        label: Text of the progress bar.
    """
    before, hidden = torch.get_num_threads(), not get_console().is_interactive
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from track(computed_ahead(pool, compute, starts), label, len(starts), transient=True, disable=hidden)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)  # what a worker sets would be the number of any thread that starts later


def describe(images: NDArray[np.uint8], positions: Indices) -> Descriptors:
    """Return what the search compares of the images, uint8 `(N, 128, 128)`, at some positions."""

    def described(start: int) -> tuple[Tensor, ...]:
        chunk = torch.from_numpy(images[positions[start : start + CHUNK]]).float()
        boxes = content_boxes(chunk)
        inside = warp(chunk[:, None], boxes)[0][:, 0]
        small = pool(chunk, chunk.shape[-1] // SMALL).round().byte()
        return small, boxes, outline(chunk), outline(inside)

    chunks = in_threads(described, range(0, len(positions), CHUNK), f"Describing {len(positions)} images")
    small, boxes, whole, inside = map(torch.cat, zip(*chunks, strict=True))
    return Descriptors(small.numpy(), boxes, whole, inside)


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


def outline(images: Tensor) -> Tensor:
    """Return images pooled to 16 x 16, with mean 0 and length 1; 0 for a flat image."""
    coarse = F.adaptive_avg_pool2d(images[:, None], 16)[:, 0]
    centred = coarse - coarse.mean((1, 2), keepdim=True)
    return F.normalize(centred.flatten(1), eps=1.0).view_as(coarse)


def nearest(outlines: Tensor, since: int = 0) -> Tensor:
    """Return first, second and turn of each outline and its nearest ones in any orientation, each pair once, `(P, 3)`.

    Similarities are computed in blocks, so memory grows with N and not with N x N.

    Args:
        outlines: `(N, 16, 16)`, each of length 1.
        since: Search for the neighbours of outlines from this position on among those before it; 0 searches for those
            of every outline among all.
    """
    cells, rows = divide(outlines, since), torch.arange(since, len(outlines))
    blocks = [block for own in cells.members_of(rows) for block in torch.split(own, ROWS)]
    undone = torch.tensor([inverse(turn) for turn in range(len(TURNS))])

    def neighbours(number: int) -> Tensor:
        block = blocks[number]
        ways = each_way(outlines[block])
        others = cells.around(ways)
        columns = outlines[others].flatten(1)
        values, places = similarities(ways, columns).topk(min(NEAREST + 1, len(columns)), dim=1)
        row, rank = (values > LEAST_SIMILARITY).nonzero().unbind(1)
        place = places[row, rank]
        turns = (ways[:, row] * columns[place]).sum(2).argmax(0)
        first, second = block[row], others[place]
        turns = torch.where(first < second, turns, undone[turns])
        found = torch.stack([first.minimum(second), first.maximum(second), turns])
        return found.T[first != second]

    found = list(in_threads(neighbours, range(len(blocks)), f"Searching {len(outlines)} images"))
    pairs = torch.cat(found) if found else torch.zeros(0, 3, dtype=torch.int64)
    return torch.from_numpy(np.unique(pairs.numpy(), axis=0))


class Cells(NamedTuple):
    """Groups of similar outlines: each outline is in the cell whose leader is nearest to it in any orientation.

    Attributes:
        leaders: An outline of each cell, `(K, 256)`.
        of: Cell of each outline, `(N,)`.
        members: Positions of the outlines in each cell that others are compared with.
    """

    leaders: Tensor
    of: Tensor
    members: tuple[Tensor, ...]

    def members_of(self, positions: Tensor) -> list[Tensor]:
        """Return some of the positions for each cell, without cells that have none."""
        own = self.of[positions]
        sizes = own.bincount(minlength=len(self.leaders)).tolist()
        return [cell for cell in torch.split(positions[own.argsort(stable=True)], sizes) if len(cell)]

    def around(self, ways: Tensor) -> Tensor:
        """Return the members of the cells nearest to any of some outlines, `COMPARED` of them or a few more.

        Args:
            ways: The outlines as `each_way` returns them, `(8, R, 256)`.
        """
        if len(self.members) == 1:
            return self.members[0]
        closest = similarities(ways, self.leaders).amax(0).argsort(descending=True, stable=True)
        sizes = torch.tensor([len(self.members[cell]) for cell in closest.tolist()])
        enough = closest[: int((sizes.cumsum(0) < COMPARED).sum()) + 1]
        return torch.cat([self.members[cell] for cell in enough.tolist()])


def divide(outlines: Tensor, since: int) -> Cells:
    """Divide outlines, `(N, 16, 16)`, into cells, led by every `PER_CELL`th of those that others are compared with.

    There is one cell if they are `COMPARED` or fewer. `since` is as in `nearest`.
    """
    columns = torch.arange(since or len(outlines))
    if len(columns) <= COMPARED:
        return Cells(outlines[:1].flatten(1), torch.zeros(len(outlines), dtype=torch.int64), (columns,))
    leaders = outlines[columns[::PER_CELL]].flatten(1)

    def nearest_leader(start: int) -> Tensor:
        return similarities(each_way(outlines[start : start + CHUNK]), leaders).argmax(1)

    chunks = in_threads(nearest_leader, range(0, len(outlines), CHUNK), f"Dividing {len(outlines)} images")
    of = torch.cat(list(chunks))
    sizes = of[columns].bincount(minlength=len(leaders)).tolist()
    return Cells(leaders, of, torch.split(of[columns].argsort(stable=True), sizes))


def each_way(outlines: Tensor) -> Tensor:
    """Return outlines, `(R, 16, 16)`, in the 8 orientations, as vectors, `(8, R, 256)`."""
    return torch.stack([turned(outlines, inverse(turn)) for turn in range(len(TURNS))]).flatten(2)


def similarities(ways: Tensor, columns: Tensor) -> Tensor:
    """Return the greatest product over the orientations of some outlines with others, `(R, C)`.

    Args:
        ways: As `each_way` returns them, `(8, R, 256)`.
        columns: The others, `(C, 256)`.
    """
    turns, rows, size = ways.shape
    products = (ways.view(-1, size) @ block.T for block in torch.split(columns, COLUMNS))
    return torch.cat([product.view(turns, rows, -1).amax(0) for product in products], dim=1)


def turned(images: Tensor, turn: int) -> Tensor:
    """Return images, `(..., S, S)`, in an orientation of `TURNS`: first mirrored left to right, then turned left."""
    mirrored = images.flip(-1) if turn >= 4 else images
    return torch.rot90(mirrored, turn % 4, (-2, -1))


def inverse(turn: int) -> int:
    """Return the orientation that undoes another; a mirrored one undoes itself."""
    return turn if turn >= 4 else -turn % 4


def each_turned(images: Tensor, turns: Tensor) -> Tensor:
    """Return images, `(B, S, S)`, each in its own orientation, `(B,)`."""
    result = images.clone()
    for turn in set(turns.tolist()) - {0}:
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
