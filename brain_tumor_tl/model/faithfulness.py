"""Faithfulness: how a class's probability falls as the pixels that a map ranks highest are removed (ROAD).

Rong et al. 2022 (ICML, proceedings.mlr.press/v162/rong22a.html): a removed pixel is replaced by what its neighbours let
expect, since a black patch would itself change the prediction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

SHARES = (0.2, 0.4, 0.6, 0.8)  # of an image's pixels that are removed, one after the other
NOISE = 2.55  # standard deviation of what is added to imputed pixels, of intensities 0..255
STEPS = 48  # of conjugate gradients at each size
TINY = 1e-12  # keeps a division by zero finite


def removal_curves(probability: Callable[[Tensor], Tensor], images: Tensor, maps: Tensor) -> Tensor:
    """Return the class's probability without the most and without the least important pixels, `(B, 2, SHARES)`.

    The mean difference, least minus most, is the score: 0 for a map without meaning, at most 1. It is twice the
    `ROADCombined` of the package grad-cam.

    Args:
        probability: Images like `images` to the probability of the explained class `(B,)`.
        images: Intensities 0..255, float32 `(B, C, H, W)`.
        maps: Importance of each pixel, `(B, H, W)`. With its negative values, since equal ones have no order.
    """
    random = torch.Generator().manual_seed(0)
    rank = maps.flatten(1).argsort(1).argsort(1).reshape(maps.shape)  # 0 for the least important pixel
    most: list[Tensor] = []
    least: list[Tensor] = []
    for share in SHARES:
        count = round(share * rank[0].numel())
        for curve, removed in ((most, rank >= rank[0].numel() - count), (least, rank < count)):
            noise = NOISE * torch.randn(images.shape, generator=random).to(images.device)
            curve.append(probability(torch.where(removed[:, None], impute(images, removed) + noise, images)))
    return torch.stack([torch.stack(most, 1), torch.stack(least, 1)], 1)


def impute(images: Tensor, removed: Tensor) -> Tensor:
    """Return images whose removed pixels are the weighted mean of their neighbours, removed or not.

    These are linear equations, one for each removed pixel, solved by conjugate gradients (Hestenes, Stiefel 1952) that
    start from the solution at half the size.

    Args:
        images: float32 `(B, C, H, W)`.
        removed: bool `(B, H, W)`, at least one pixel of each image False.
    """
    gone = removed[:, None].to(images.dtype)
    known = images * (1 - gone)
    present = around(torch.ones_like(gone[:1]))  # below 1 at the image's edges

    def equations(values: Tensor) -> Tensor:
        return gone * (present * values - around(values))

    solution = gone * start_values(known, gone)
    error = gone * around(known) - equations(solution)
    step, size = error, product(error, error)
    for _ in range(STEPS):
        image = equations(step)
        length = size / product(step, image).clamp_min(TINY)
        solution, error = solution + length * step, error - length * image
        before, size = size, product(error, error)
        step = error + size / before.clamp_min(TINY) * step
    return known + solution


def start_values(known: Tensor, gone: Tensor) -> Tensor:
    """Return first values of removed pixels: of a small image the mean of the others, else from half the size.

    Args:
        known: The images with 0 at removed pixels, `(B, C, H, W)`.
        gone: 1 at removed pixels, else 0, `(B, 1, H, W)`.
    """
    if min(known.shape[2:]) <= 8:
        return known.sum((2, 3), keepdim=True) / (1 - gone).sum((2, 3), keepdim=True)
    kept = F.avg_pool2d(1 - gone, 2, ceil_mode=True)
    halved = F.avg_pool2d(known, 2, ceil_mode=True) / kept.clamp_min(TINY)
    return F.interpolate(impute(halved, kept[:, 0] == 0), size=known.shape[2:], mode="bilinear")


def around(values: Tensor) -> Tensor:
    """Return the weighted sum of each pixel's neighbours, `(B, C, H, W)`: 1/6 beside it, 1/12 at its corners.

    Beyond the edge there are none. Slices are faster than a convolution of one channel.
    """
    padded = F.pad(values, (1, 1, 1, 1))
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:] - 4 * values) / 12


def product(values: Tensor, others: Tensor) -> Tensor:
    """Return the scalar product of each channel, `(B, C, 1, 1)`."""
    return (values * others).sum((2, 3), keepdim=True)
