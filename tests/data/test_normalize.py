"""Normalization: what torchvision gives, in the layout that is asked for."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import v2

from brain_tumor_tl.data.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalization


@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels-last"])
@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
@pytest.mark.parametrize("name", ["unit", "imagenet"])
def test_normalization__agrees_with_torchvision(name: str, channels: int, channels_last: bool) -> None:
    images = torch.randint(0, 256, (5, channels, 8, 8), dtype=torch.uint8)
    expected = images.expand(-1, 3, -1, -1).float() / 255
    if name == "imagenet":
        expected = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)(expected)
    result = Normalization(name, channels_last)(images)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert result.is_contiguous(memory_format=layout)


def test_normalization__unknown_name() -> None:
    with pytest.raises(ValueError, match="unit or imagenet, got 'z'"):
        Normalization("z")
