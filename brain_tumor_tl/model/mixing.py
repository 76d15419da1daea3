"""Mixing: each training image with another one of its batch, and their labels in the same proportion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta
from torch.nn import functional as F


@dataclass(frozen=True)
class Mixing:
    """MixUp (Zhang et al. 2018) and CutMix (Yun et al. 2019), drawn anew for each image.

    Every image keeps at least half of itself, as in fastai, so its own label stays the likelier one and an accuracy on
    mixed images still means something. There is no branch on a drawn number, so that a CUDA graph can hold the step.

    Attributes:
        classes: Number of classes.
        mixup: Alpha of the Beta distribution of the share in a weighted mean of two images; 0 for none.
        cutmix: Alpha of the share that a box of the other image leaves; 0 for none. With both, half of the images each.
    """

    classes: int
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def does_nothing(self) -> bool:
        """Whether images stay unmixed."""
        return not (self.mixup or self.cutmix)

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return mixed inputs and soft targets; the random numbers come from the default generator of their device.

        Args:
            inputs: Images or feature maps `(B, C, H, W)`; features `(B, D)` for MixUp alone.
            labels: `(B,)`.

        Returns:
            Inputs of the same shape, and float32 targets `(B, classes)`, whose rows sum to 1.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            kept = self._kept(inputs)
            own = kept.flatten(1).mean(1, keepdim=True)
            targets = F.one_hot(labels, self.classes).float()
            mixed = torch.lerp(inputs.roll(1, 0), inputs, kept.to(inputs.dtype))
            return mixed, torch.lerp(targets.roll(1, 0), targets, own)

    def _kept(self, inputs: Tensor) -> Tensor:
        """Return how much of each image is kept where, `(B, 1, H, W)` or `(B, 1, 1, 1)`, of features `(B, 1)`."""
        whole = (-1, *[1] * (inputs.ndim - 1))
        if not self.cutmix:
            return shares(self.mixup, inputs).view(whole)
        if inputs.ndim != 4:
            raise ValueError(
                f"CutMix needs images (B, C, H, W), got {tuple(inputs.shape)}. Use MixUp, or train on images."
            )
        outside = 1 - boxes(shares(self.cutmix, inputs), *inputs.shape[2:])
        if not self.mixup:
            return outside
        blended = torch.rand(len(inputs), device=inputs.device).view(whole) < 0.5
        return torch.where(blended, shares(self.mixup, inputs).view(whole), outside)


def shares(alpha: float, inputs: Tensor) -> Tensor:
    """Return a share 0.5..1 for each image, `(B,)`, of the symmetric Beta distribution folded at one half."""
    concentration = torch.full((len(inputs),), alpha, device=inputs.device)
    drawn: Tensor = Beta(concentration, concentration, validate_args=False).sample()
    return torch.maximum(drawn, 1 - drawn)


def boxes(share: Tensor, height: int, width: int) -> Tensor:
    """Return masks `(B, 1, H, W)` that are 1 in a box somewhere in each image, of the image's own aspect ratio.

    Args:
        share: Of the image outside the box, `(B,)`.
        height: H.
        width: W.
    """
    side = (1 - share).sqrt()[:, None]
    rows, columns = (spans(side, size) for size in (height, width))
    return (rows[:, None, :, None] & columns[:, None, None, :]).float()


def spans(side: Tensor, size: int) -> Tensor:
    """Return which of `size` places lie in an interval of 0..1 as long as `side` `(B, 1)`, drawn anew: `(B, size)`."""
    start = torch.rand(side.shape, device=side.device) * (1 - side)
    places = (torch.arange(size, device=side.device) + 0.5) / size
    return (places >= start) & (places < start + side)
