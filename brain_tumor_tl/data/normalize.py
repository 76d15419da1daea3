"""Normalization: intensities of stored images become a network's input."""

from __future__ import annotations

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1, as torchvision's weights expect it
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalization:
    """Widens images to three channels, scales and shifts them, on the images' device.

    Args:
        name: "unit" scales to 0..1; "imagenet" also subtracts ImageNet's mean and divides by its standard deviation.
        channels_last: Whether the result is laid out with channels last.

    Raises:
        ValueError: `name` is something else.
    """

    def __init__(self, name: str, channels_last: bool = False) -> None:
        if name not in ("unit", "imagenet"):
            raise ValueError(f"Expected `normalize` to be unit or imagenet, got {name!r}.")
        self.name = name
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.scale = torch.full((3,), 1 / 255) if name == "unit" else 1 / (255 * std)
        self.shift = torch.zeros(3) if name == "unit" else -mean / std
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, images: Tensor) -> Tensor:
        """Return normalised images, float32 `(B, 3, H, W)`.

        Args:
            images: Intensities 0..255, `(B, C, H, W)` with C = 1 or 3.
        """
        # kept on the device, since a CUDA graph of a training step may not copy from the processor
        self.scale, self.shift = self.scale.to(images.device), self.shift.to(images.device)
        last = torch.addcmul(self.shift, images.permute(0, 2, 3, 1).to(torch.float32), self.scale)
        return last.permute(0, 3, 1, 2).contiguous(memory_format=self.layout)
