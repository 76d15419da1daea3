"""Augmentation: each change is the one that it says, and none changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from brain_tumor_tl.data.augment import Augmentation


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def heads(count: int = 64, size: int = 16) -> Tensor:
    """Images of noise with a dark border, so that what comes in from outside is as dark."""
    images = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    images[..., 4:-4, 4:-4] = torch.randint(30, 100, (count, 1, size - 8, size - 8), dtype=torch.uint8)
    return images


def test_augmentation__zero_changes_nothing() -> None:
    images = heads()
    assert Augmentation().does_nothing
    assert torch.equal(Augmentation()(images), images.float())


def test_augmentation__flip_agrees_with_torchvision() -> None:
    images = heads()
    always = Augmentation(flip=1.0)(images)
    torch.testing.assert_close(always, TF.horizontal_flip(images).float(), rtol=0, atol=1e-3)
    sometimes = Augmentation(flip=0.5)(images)
    same = [torch.allclose(a, b.float(), atol=1e-3) for a, b in zip(sometimes, images, strict=True)]
    turned = [torch.allclose(a, b, atol=1e-3) for a, b in zip(sometimes, always, strict=True)]
    assert [a != b for a, b in zip(same, turned, strict=True)] == [True] * 64
    assert 15 < sum(same) < 49


@pytest.mark.parametrize("angle", [-30.0, 45.0], ids=["left", "right"])
def test_augmentation__rotation_agrees_with_torchvision(angle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brain_tumor_tl.data.augment.uniform", lambda images: torch.ones(len(images)))
    images = heads()
    expected = TF.rotate(images.float(), angle, interpolation=TF.InterpolationMode.BILINEAR)
    torch.testing.assert_close(Augmentation(degrees=angle)(images), expected, rtol=0, atol=0.5)


def test_augmentation__translate_moves_by_a_share_of_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brain_tumor_tl.data.augment.uniform", lambda images: torch.ones(len(images)))
    images = heads()
    moved = Augmentation(translate=0.125)(images)
    torch.testing.assert_close(moved[..., :-2, :-2], images[..., 2:, 2:].float(), rtol=0, atol=1e-3)


def test_augmentation__brightness_and_contrast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brain_tumor_tl.data.augment.uniform", lambda images: torch.ones(len(images)))
    images = heads().float() + 20
    torch.testing.assert_close(Augmentation(brightness=0.5)(images), (images * 1.5).clamp(0, 255))
    changed = Augmentation(contrast=0.1)(images)
    torch.testing.assert_close(changed.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)), rtol=1e-3, atol=0.5)
    torch.testing.assert_close(changed.std(dim=(1, 2, 3)), 1.1 * images.std(dim=(1, 2, 3)), rtol=1e-2, atol=0.1)


@pytest.mark.parametrize(
    "change",
    [{"degrees": 20.0}, {"scale": 0.2}, {"contrast": 0.3}, {"gamma": 0.5}, {"noise": 0.1}],
    ids=lambda c: next(iter(c)),
)
def test_augmentation__each_image_its_own_change_and_the_seed_repeats_it(change: dict[str, Any]) -> None:
    image = heads(1).expand(8, -1, -1, -1)
    torch.manual_seed(5)
    first = Augmentation(**change)(image)
    torch.manual_seed(5)
    assert torch.equal(Augmentation(**change)(image), first)
    assert len({tuple(one.flatten().tolist()) for one in first}) == 8
    assert first.min() >= 0
    assert first.max() <= 255


def test_augmentation__gamma_is_a_power_of_the_intensity(monkeypatch: pytest.MonkeyPatch) -> None:
    images = heads()
    for drawn, power in ((1.0, 1.5), (-1.0, 1 / 1.5)):
        monkeypatch.setattr(
            "brain_tumor_tl.data.augment.uniform", lambda images, d=drawn: torch.full((len(images),), d)
        )
        expected = TF.adjust_gamma(images.float() / 255, power) * 255
        torch.testing.assert_close(Augmentation(gamma=0.5)(images), expected, rtol=1e-4, atol=1e-2)


def test_augmentation__noise_is_that_of_magnitude_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a background of 0 the mean is that of Rayleigh's distribution, far from 0 the deviation is the noise's."""
    monkeypatch.setattr("brain_tumor_tl.data.augment.torch.rand", lambda count, device: torch.ones(count))
    dark, bright = (torch.full((4, 3, 100, 100), value) for value in (0.0, 100.0))
    noisy = Augmentation(noise=0.02)(dark)
    assert float(noisy.mean()) == pytest.approx(255 * 0.02 * (torch.pi / 2) ** 0.5, rel=0.02)
    assert float(Augmentation(noise=0.02)(bright).std()) == pytest.approx(255 * 0.02, rel=0.02)
    assert torch.equal(noisy[:, 0], noisy[:, 2]), "grey images stay grey"
