"""Augmentation: random flips, shifts, rotations and changes of the intensities, on whole batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Augmentation:
    """How much each training image is changed at random, anew each time; zero switches a change off.

    Attributes:
        flip: Probability of a horizontal flip.
        degrees: Rotation by up to this many degrees, in either direction.
        translate: Shift by up to this share of width and height.
        scale: Magnification or reduction by up to this share.
        brightness: Factor of 1 plus or minus up to this share on the intensities.
        contrast: Factor of 1 plus or minus up to this share on the distance from the image's mean.
        gamma: Power between 1 / (1 + gamma) and 1 + gamma of the intensities as fractions of 255.
        noise: Rician noise of a standard deviation up to this share of 255, the noise of magnitude images (Gudbjartsson
            and Patz 1995).
        mixup: Alpha of MixUp, and
        cutmix: alpha of CutMix; both mix the labels too, which is for whoever computes the loss.
    """

    flip: float = 0.0
    degrees: float = 0.0
    translate: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    noise: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    @property
    def does_nothing(self) -> bool:
        """Whether images stay unchanged."""
        return not any(vars(self).values())

    def __call__(self, images: Tensor) -> Tensor:
        """Return changed images, not mixed; the random numbers come from the default generator of the images' device.

        Args:
            images: Intensities 0..255, `(B, C, H, W)`.

        Returns:
            float32 `(B, C, H, W)`, 0..255; points from outside the image are 0, like the background.
        """
        changed = images.to(torch.float32)
        if self.flip or self.degrees or self.translate or self.scale:
            grid = F.affine_grid(self._matrices(images), list(images.shape), align_corners=False)
            changed = F.grid_sample(changed, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        if self.contrast:
            mean = changed.mean(dim=(1, 2, 3), keepdim=True)
            changed = mean + (changed - mean) * (1 + self.contrast * uniform(images))[:, None, None, None]
        if self.brightness:
            changed = changed * (1 + self.brightness * uniform(images))[:, None, None, None]
        if self.gamma:
            power = (1 + self.gamma) ** uniform(images)
            changed = 255 * (changed.clamp(0, 255) / 255) ** power[:, None, None, None]
        if self.noise:
            changed = self._noisy(changed)
        return changed.clamp(0, 255)

    def _noisy(self, images: Tensor) -> Tensor:
        """Return magnitudes of the images with Gaussian noise in both parts of the signal, the same in all channels."""
        std = 255 * self.noise * torch.rand(len(images), device=images.device)[:, None, None, None]
        real, imaginary = (std * torch.randn_like(images[:, :1]) for _ in range(2))
        return torch.hypot(images + real, imaginary)

    def _matrices(self, images: Tensor) -> Tensor:
        """Return `(B, 2, 3)`: maps a point of the result to its source, in coordinates -1..1 from edge to edge."""
        angle = math.radians(self.degrees) * uniform(images)
        size = 1 + self.scale * uniform(images)
        side = 1 - 2 * (torch.rand(len(images), device=images.device) < self.flip).to(torch.float32)
        across, down = 2 * self.translate * uniform(images), 2 * self.translate * uniform(images)
        cosine, sine = size * angle.cos(), size * angle.sin()
        rows = (torch.stack((side * cosine, -sine, across), 1), torch.stack((side * sine, cosine, down), 1))
        return torch.stack(rows, 1)


def uniform(images: Tensor) -> Tensor:
    """Return a random number in -1..1 for each image."""
    return 2 * torch.rand(len(images), device=images.device) - 1
