"""Align: register one image to another and measure how well their fine detail agrees, on batches of pairs.

A crop followed by a resize to a square scales and shifts each axis. This map is found by Gauss-Newton steps on the
squared difference (Lucas and Kanade 1981), which solve for gain and offset of the brightness too. Coordinates run from
-1 at an image's left or upper edge to 1 at its right or lower edge.

An edited copy may have other tones: brighter, clipped, by another gamma, equalised. So images are compared after the
grey values of one were given the distribution of the other's, which undoes every change that keeps the order of tones.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

DAMPING = 1e-3  # share of its diagonal added to the normal matrix, as a flat image has no unique map
SCALES = (0.7, 1.45)  # a small crop has no scale outside these
SHIFT = 0.4  # nor does it move the centre further
DETAIL = 3.0  # pixels of 128; detail is what a Gaussian blur of this standard deviation removes
GREYS = 256  # grey values of an image


class Level(NamedTuple):
    """One level of the alignment, from coarse to fine.

    Attributes:
        pooling: Pixels of 128, along each axis, that are averaged into one.
        steps: Gauss-Newton steps.
        grey: Least correlation of the grey values; pairs with less are dropped.
        detail: Least correlation of the detail; None where the images are too small to have any.
    """

    pooling: int
    steps: int
    grey: float
    detail: float | None


# Far below what a copy must have in the end (`copies.GREY`, `copies.DETAIL`), since the alignment is still rough.
LEVELS = (Level(8, 4, 0.70, None), Level(4, 3, 0.80, 0.60), Level(2, 1, 0.80, 0.65), Level(2, 2, 0.80, 0.75))


class Alignment(NamedTuple):
    """How well pairs of images agree after alignment.

    Attributes:
        maps: Scale of x, shift of x, scale of y, shift of y of each pair, `(B, 4)`.
        grey: Correlation of the grey values where the images overlap, tones matched, `(B,)`.
        detail: Correlation of the fine detail where they overlap, tones matched, `(B,)`.
        overlap: Share of the first image that the second covers, `(B,)`.
    """

    maps: Tensor
    grey: Tensor
    detail: Tensor
    overlap: Tensor


def pool(images: Tensor, pooling: int) -> Tensor:
    """Return images, `(B, S, S)`, with `pooling` x `pooling` pixels averaged into one; `pooling` is a power of 2."""
    while pooling > 1:  # sums of slices take a sixth of avg_pool2d's time
        rows = images[:, ::2] + images[:, 1::2]
        images, pooling = (rows[..., ::2] + rows[..., 1::2]) / 4, pooling // 2
    return images


def refine(first: Tensor, second: Tensor, maps: Tensor, level: Level) -> tuple[Tensor, Tensor, Tensor]:
    """Align pairs of images of one level.

    Args:
        first: Grey images of the level's size, float32 `(B, S, S)`.
        second: The images that are aligned to them, `(B, S, S)`.
        maps: Initial maps, `(B, 4)`: the point `(x, y)` of the first image is at
            `(maps[0] * x + maps[1], maps[2] * y + maps[3])` in the second.
        level: The level.

    Returns:
        Which pairs agree enough, `(B,)`; the maps, `(B, 4)`; the correlation of the detail, of the grey values if the
        level has no detail, `(B,)`.
    """
    graded = with_gradients(second)
    for _ in range(level.steps):
        maps = clamp_maps(gauss_newton_step(first, graded, maps))
    warped, inside = warp(second[:, None], maps)
    agreement = correlation(first, warped[:, 0], inside)
    agree = agreement >= level.grey
    if level.detail is not None:
        agreement = detail_correlation(first, warped[:, 0], inside, DETAIL / level.pooling)
        agree &= agreement >= level.detail
    return agree, maps, agreement


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

    Args:
        first: `(B, S, S)`.
        second: The second images and their gradients, `(B, 3, S, S)`.
        maps: `(B, 4)`.
    """
    warped, inside = warp(second, maps)
    axis = pixel_centres(first.shape[-1], first.device)
    value, along_x, along_y = warped.unbind(1)
    x, y = axis[None, None, :], axis[None, :, None]
    terms = [along_x * x, along_x, along_y * y, along_y, value, torch.ones_like(value), first]
    columns = torch.stack(terms, dim=1).mul_(inside[:, None]).flatten(2)
    products = columns @ columns.transpose(1, 2)  # of the model's six columns and of the first image with each
    normal, right = products[:, :6, :6], products[:, :6, 6:]
    normal = normal + torch.diag_embed(DAMPING * normal.diagonal(dim1=1, dim2=2) + 1e-4)
    solved = torch.linalg.solve(normal, right)[..., 0]
    gain = solved[:, 4:5]
    change = torch.where(gain > 0.1, solved[:, :4] / gain.clamp(min=0.1), 0.0)  # a negative image is no copy
    return maps + change.clamp(-0.1, 0.1)


def compare(first: Tensor, second: Tensor, maps: Tensor) -> Alignment:
    """Measure how well pairs agree under their maps, after the tones of either image were matched to the other's.

    Clipping can't be undone: its tones are matched in one direction only, so the better direction counts.
    """
    warped, inside = warp(second[:, None], maps)
    over = warped[:, 0]
    pairs = ((match_tones(over, first, inside), first), (match_tones(first, over, inside), over))
    details = [detail_correlation(one, other, inside, DETAIL) for one, other in pairs]
    greys = [correlation(one, other, inside) for one, other in pairs]
    grey = torch.where(details[0] >= details[1], greys[0], greys[1])
    return Alignment(maps, grey, torch.maximum(details[0], details[1]), inside.mean((1, 2)))


def match_tones(images: Tensor, target: Tensor, inside: Tensor) -> Tensor:
    """Return images whose grey values are mapped to those of the same rank in other images, `(B, S, S)`.

    Args:
        images: In 0..255, `(B, S, S)`.
        target: The images whose distribution of grey values they get, `(B, S, S)`.
        inside: 1 for the pixels that count, otherwise 0, `(B, S, S)`.
    """
    ranks, of_target = grey_ranks(images, inside), grey_ranks(target, inside)
    upper = torch.searchsorted(of_target, ranks).clamp(1, GREYS - 1)
    low, high = of_target.gather(1, upper - 1), of_target.gather(1, upper)
    curve = upper - 1 + ((ranks - low) / (high - low).clamp(min=1e-9)).clamp(0, 1)
    values = images.flatten(1)
    below = values.floor().clamp(0, GREYS - 2).long()
    start, end = curve.gather(1, below), curve.gather(1, below + 1)
    return (start + (end - start) * (values - below)).float().view_as(images)


def grey_ranks(images: Tensor, inside: Tensor) -> Tensor:
    """Return the share of an image's pixels darker than each grey value, with half of those equal, `(B, 256)`."""
    counts = torch.zeros(len(images), GREYS, dtype=torch.float64, device=images.device)
    values = images.flatten(1).round().clamp(0, GREYS - 1).long()
    counts.scatter_add_(1, values, inside.flatten(1).double())
    return (counts.cumsum(1) - counts / 2) / counts.sum(1, keepdim=True).clamp(min=1)


def detail_correlation(first: Tensor, second: Tensor, inside: Tensor, sigma: float) -> Tensor:
    """Return the correlation of what a blur removes from each pair of images, `(B,)`."""
    return correlation(first - blur(first, sigma), second - blur(second, sigma), inside)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Return images, `(B, S, S)`, blurred by a Gaussian of a standard deviation in pixels, edges replicated."""
    weights = blur_weights(images.shape[-1], sigma).to(images.device)
    return weights @ (images @ weights.T)


@lru_cache
def blur_weights(size: int, sigma: float) -> Tensor:
    """Return the matrix that blurs a line of pixels, `(S, S)`: a product takes a fifth of a convolution's time."""
    reach = round(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    sources = (torch.arange(size)[:, None] + torch.arange(-reach, reach + 1)).clamp(0, size - 1)
    return torch.zeros(size, size).scatter_add_(1, sources, (kernel / kernel.sum()).expand(size, -1))


def correlation(first: Tensor, second: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted Pearson correlation of each pair of images `(B, S, S)`; 0 if one of them is flat."""
    total = weights.sum((1, 2)).clamp(min=1)
    a, b = ((one - ((one * weights).sum((1, 2)) / total)[:, None, None]) * weights for one in (first, second))
    norms = (a.square().sum((1, 2)) * b.square().sum((1, 2))).sqrt()
    return torch.where(norms > 1e-6, (a * b).sum((1, 2)) / norms.clamp(min=1e-6), 0.0)
