"""Align: lay one picture over another, and tell how much of the fine detail then agrees. Pure functions on batches.

A crop followed by a resize to a square scales and shifts each axis. That map is found by Gauss-Newton steps on the
squared difference (Lucas and Kanade 1981), with gain and offset of the brightness solved for in the same step.
Coordinates run from -1 at a picture's left or upper edge to 1 at its right or lower edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = ((8, 4, 0.80), (4, 6, 0.90), (2, 3, 0.96))  # pixels pooled into one, steps, grey correlation to go on with
DAMPING = 1e-3  # share of its diagonal that is added to the normal matrix: flat pictures have no unique map
SCALES = (0.7, 1.45)  # a map beyond these is no small crop
SHIFT = 0.4  # nor is one that moves the middle by more
DETAIL = 3.0  # pixels of 128; what a Gaussian of this std leaves out is the detail


@dataclass(frozen=True)
class Alignment:
    """How well pairs of pictures agree once one is laid over the other.

    Attributes:
        maps: Scale of x, shift of x, scale of y, shift of y of each pair, `(B, 4)`.
        grey: Correlation of the grey values where both pictures are, `(B,)`.
        detail: Correlation of what a blur leaves out there, `(B,)`.
        overlap: Share of the first picture that the second covers, `(B,)`.
    """

    maps: Tensor
    grey: Tensor
    detail: Tensor
    overlap: Tensor


def align(first: Tensor, second: Tensor, maps: Tensor, level: int = 0) -> tuple[Tensor, Alignment]:
    """Lay each second picture over its first, and compare those pairs whose grey values come to agree.

    Args:
        first: Grey pictures, float32 `(B, S, S)`.
        second: The pictures to be laid over them, `(B, S, S)`.
        maps: Where to start from, `(B, 4)`: the point `(x, y)` of the first picture lies at
            `(maps[0] * x + maps[1], maps[2] * y + maps[3])` of the second.
        level: Which of `LEVELS` comes first; 1 where `laid` did the coarsest already.

    Returns:
        Which pairs are left, positions in the batch, and how they agree.
    """
    left = torch.arange(len(first), device=first.device)
    for pooled, steps, least in LEVELS[level:]:
        agree, maps = laid(shrunk(first[left], pooled), shrunk(second[left], pooled), maps, steps, least)
        left, maps = left[agree], maps[agree]
    return left, compare(first[left], second[left], maps)


def shrunk(pictures: Tensor, pooled: int) -> Tensor:
    """Return pictures, `(B, S, S)`, with `pooled` x `pooled` pixels made one."""
    return F.avg_pool2d(pictures[:, None], pooled)[:, 0]


def laid(first: Tensor, second: Tensor, maps: Tensor, steps: int, least: float) -> tuple[Tensor, Tensor]:
    """Return which pairs' grey values come to agree to `least`, `(B,)`, and the maps after some steps, `(B, 4)`."""
    for _ in range(steps):
        maps = bounded(improved(first, second, maps))
    warped, inside = warp(second[:, None], maps)
    return correlation(first, warped[:, 0], inside) >= least, maps


def bounded(maps: Tensor) -> Tensor:
    """Return maps with scales and shifts held to what a small crop can do."""
    scales, shifts = maps[:, 0::2].clamp(*SCALES), maps[:, 1::2].clamp(-SHIFT, SHIFT)
    return torch.stack([scales, shifts], dim=2).flatten(1)


def axis_of(size: int, device: torch.device) -> Tensor:
    """Return the coordinate of each pixel's middle along one axis, `(S,)`."""
    return (torch.arange(size, device=device) + 0.5) * (2 / size) - 1


def warp(pictures: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return pictures of any channels, `(B, C, S, S)`, under the maps; and which pixels they cover, `(B, S, S)`."""
    axis = axis_of(pictures.shape[-1], pictures.device)
    x = maps[:, 0, None] * axis + maps[:, 1, None]
    y = maps[:, 2, None] * axis + maps[:, 3, None]
    shape = (len(maps), len(axis), len(axis))
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=3)
    inside = ((x.abs() <= 1)[:, None, :] & (y.abs() <= 1)[:, :, None]).to(pictures.dtype)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False), inside


def slopes(pictures: Tensor) -> Tensor:
    """Return the pictures `(B, S, S)` and their slopes along x and y per unit of coordinate, `(B, 3, S, S)`."""
    padded = F.pad(pictures[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    per_unit = pictures.shape[-1] / 4  # central difference over two pixels, each 2 / S long
    across = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * per_unit
    down = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * per_unit
    return torch.stack([pictures, across, down], dim=1)


def improved(first: Tensor, second: Tensor, maps: Tensor) -> Tensor:
    """Return the maps after one Gauss-Newton step.

    The first picture is modelled as `gain * (second + change of the map * slopes) + offset`, which is linear in
    (gain * change, gain, offset).
    """
    warped, inside = warp(slopes(second), maps)
    axis = axis_of(first.shape[-1], first.device)
    value, across, down = warped.unbind(1)
    x, y = axis[None, None, :], axis[None, :, None]
    columns = torch.stack([across * x, across, down * y, down, value, torch.ones_like(value)], dim=1).flatten(2)
    weighted = columns * inside.flatten(1)[:, None]
    normal = weighted @ columns.transpose(1, 2)
    diagonal = normal.diagonal(dim1=1, dim2=2)
    normal = normal + torch.diag_embed(DAMPING * diagonal + 1e-4)
    right = weighted @ first.flatten(1)[..., None]
    solved = torch.linalg.solve(normal, right)[..., 0]
    gain = solved[:, 4:5]
    sensible = gain > 0.1  # a negative of a picture is no copy of it
    change = torch.where(sensible, solved[:, :4] / gain.clamp(min=0.1), torch.zeros_like(maps))
    return maps + change.clamp(-0.1, 0.1)


def compare(first: Tensor, second: Tensor, maps: Tensor) -> Alignment:
    """Tell how well pairs agree under their maps."""
    warped, inside = warp(second[:, None], maps)
    over = warped[:, 0]
    grey = correlation(first, over, inside)
    detail = correlation(first - blurred(first), over - blurred(over), inside)
    return Alignment(maps, grey, detail, inside.mean((1, 2)))


def blurred(pictures: Tensor) -> Tensor:
    """Return pictures, `(B, S, S)`, blurred by a Gaussian of std `DETAIL`."""
    reach = round(3 * DETAIL)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=pictures.device) / DETAIL) ** 2)
    weights = weights / weights.sum()
    padded = F.pad(pictures[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, weights[None, None, None]), weights[None, None, :, None])[:, 0]


def correlation(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Return Pearson's correlation of each pair of pictures `(B, S, S)` under weights; 0 where one is flat."""
    total = weights.sum((1, 2)).clamp(min=1)
    a, b = (
        (picture - ((picture * weights).sum((1, 2)) / total)[:, None, None]) * weights for picture in (first, second)
    )
    norms = (a.square().sum((1, 2)) * b.square().sum((1, 2))).sqrt()
    return torch.where(norms > 1e-6, (a * b).sum((1, 2)) / norms.clamp(min=1e-6), torch.zeros_like(norms))
