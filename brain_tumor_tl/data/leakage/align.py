"""Align: register one image to another and measure how well their fine detail agrees, on batches of pairs.

A crop followed by a resize to a square scales and shifts each axis. This map is found by Gauss-Newton steps on the
squared difference (Lucas and Kanade 1981), which solve for gain and offset of the brightness too. Coordinates run from
-1 at an image's left or upper edge to 1 at its right or lower edge.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = ((8, 4, 0.80), (4, 6, 0.90), (2, 3, 0.96))  # pooling, steps, grey correlation required to continue
DAMPING = 1e-3  # share of its diagonal added to the normal matrix, as a flat image has no unique map
SCALES = (0.7, 1.45)  # a small crop has no scale outside these
SHIFT = 0.4  # nor does it move the centre further
DETAIL = 3.0  # pixels of 128; detail is what a Gaussian blur of this standard deviation removes


class Alignment(NamedTuple):
    """How well pairs of images agree after alignment.

    Attributes:
        maps: Scale of x, shift of x, scale of y, shift of y of each pair, `(B, 4)`.
        grey: Correlation of the grey values where the images overlap, `(B,)`.
        detail: Correlation of the fine detail where they overlap, `(B,)`.
        overlap: Share of the first image that the second covers, `(B,)`.
    """

    maps: Tensor
    grey: Tensor
    detail: Tensor
    overlap: Tensor


def align(first: Tensor, second: Tensor, maps: Tensor, level: int = 0) -> tuple[Tensor, Alignment]:
    """Align each second image to its first, and compare the pairs whose grey values agree well enough.

    Args:
        first: Grey images, float32 `(B, S, S)`.
        second: The images that are aligned to them, `(B, S, S)`.
        maps: Initial maps, `(B, 4)`: the point `(x, y)` of the first image is at
            `(maps[0] * x + maps[1], maps[2] * y + maps[3])` in the second.
        level: First of `LEVELS`; 1 if `refine` has done the coarsest already.

    Returns:
        Positions in the batch of the remaining pairs, and how well they agree.
    """
    left = torch.arange(len(first), device=first.device)
    for pooling, steps, least in LEVELS[level:]:
        agree, maps = refine(pool(first[left], pooling), pool(second[left], pooling), maps, steps, least)
        left, maps = left[agree], maps[agree]
    return left, compare(first[left], second[left], maps)


def pool(images: Tensor, pooling: int) -> Tensor:
    """Return images, `(B, S, S)`, with `pooling` x `pooling` pixels averaged into one."""
    return F.avg_pool2d(images[:, None], pooling)[:, 0]


def refine(first: Tensor, second: Tensor, maps: Tensor, steps: int, least: float) -> tuple[Tensor, Tensor]:
    """Return which pairs' grey values correlate by `least` or more, `(B,)`, and the maps after some steps, `(B, 4)`."""
    for _ in range(steps):
        maps = clamp_maps(gauss_newton_step(first, second, maps))
    warped, inside = warp(second[:, None], maps)
    return correlation(first, warped[:, 0], inside) >= least, maps


def clamp_maps(maps: Tensor) -> Tensor:
    """Return maps with scales and shifts limited to those of a small crop."""
    scales, shifts = maps[:, 0::2].clamp(*SCALES), maps[:, 1::2].clamp(-SHIFT, SHIFT)
    return torch.stack([scales, shifts], dim=2).flatten(1)


def pixel_centres(size: int, device: torch.device) -> Tensor:
    """Return the coordinate of each pixel's centre along one axis, `(S,)`."""
    return (torch.arange(size, device=device) + 0.5) * (2 / size) - 1


def warp(images: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return images of any channels, `(B, C, S, S)`, under the maps, and which pixels they cover, `(B, S, S)`."""
    axis = pixel_centres(images.shape[-1], images.device)
    x = maps[:, 0, None] * axis + maps[:, 1, None]
    y = maps[:, 2, None] * axis + maps[:, 3, None]
    shape = (len(maps), len(axis), len(axis))
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=3)
    inside = ((x.abs() <= 1)[:, None, :] & (y.abs() <= 1)[:, :, None]).to(images.dtype)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False), inside


def with_gradients(images: Tensor) -> Tensor:
    """Return images `(B, S, S)` and their derivatives along x and y, `(B, 3, S, S)`."""
    padded = F.pad(images[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    per_unit = images.shape[-1] / 4  # central difference over two pixels, each 2 / S long
    along_x = (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) * per_unit
    along_y = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * per_unit
    return torch.stack([images, along_x, along_y], dim=1)


def gauss_newton_step(first: Tensor, second: Tensor, maps: Tensor) -> Tensor:
    """Return the maps after one Gauss-Newton step.

    The first image is modelled as `gain * (second + change of the map * gradients) + offset`, which is linear in
    (gain * change, gain, offset).
    """
    warped, inside = warp(with_gradients(second), maps)
    axis = pixel_centres(first.shape[-1], first.device)
    value, along_x, along_y = warped.unbind(1)
    x, y = axis[None, None, :], axis[None, :, None]
    columns = torch.stack([along_x * x, along_x, along_y * y, along_y, value, torch.ones_like(value)], dim=1).flatten(2)
    weighted = columns * inside.flatten(1)[:, None]
    normal = weighted @ columns.transpose(1, 2)
    normal = normal + torch.diag_embed(DAMPING * normal.diagonal(dim1=1, dim2=2) + 1e-4)
    solved = torch.linalg.solve(normal, weighted @ first.flatten(1)[..., None])[..., 0]
    gain = solved[:, 4:5]
    change = torch.where(gain > 0.1, solved[:, :4] / gain.clamp(min=0.1), 0.0)  # a negative image is no copy
    return maps + change.clamp(-0.1, 0.1)


def compare(first: Tensor, second: Tensor, maps: Tensor) -> Alignment:
    """Measure how well pairs agree under their maps."""
    warped, inside = warp(second[:, None], maps)
    over = warped[:, 0]
    detail = correlation(first - blur(first), over - blur(over), inside)
    return Alignment(maps, correlation(first, over, inside), detail, inside.mean((1, 2)))


def blur(images: Tensor) -> Tensor:
    """Return images, `(B, S, S)`, blurred by a Gaussian of standard deviation `DETAIL`, edges replicated."""
    reach = round(3 * DETAIL)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / DETAIL) ** 2)
    weights = weights / weights.sum()
    padded = F.pad(images[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, weights[None, None, None]), weights[None, None, :, None])[:, 0]


def correlation(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted Pearson correlation of each pair of images `(B, S, S)`; 0 if one of them is flat."""
    total = weights.sum((1, 2)).clamp(min=1)
    a, b = ((one - ((one * weights).sum((1, 2)) / total)[:, None, None]) * weights for one in (first, second))
    norms = (a.square().sum((1, 2)) * b.square().sum((1, 2))).sqrt()
    return torch.where(norms > 1e-6, (a * b).sum((1, 2)) / norms.clamp(min=1e-6), 0.0)
