"""Mixing: images and labels in the same proportion, in blocks as one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from brain_tumor_tl.model.mixing import Mixing


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def batch(count: int = 64, size: int = 32) -> tuple[Tensor, Tensor]:
    """Return images that are everywhere their own label, so that a mixed image shows its shares, and the labels."""
    labels = torch.arange(count) % 4
    return labels.float()[:, None, None, None].expand(-1, 3, size, size).clone(), labels


def of_labels(targets: Tensor) -> Tensor:
    """Return the mean of the labels by their shares."""
    return targets @ torch.arange(4.0)


WAYS = {"mixup": {"mixup": 0.4}, "cutmix": {"cutmix": 1.0}, "both": {"mixup": 0.4, "cutmix": 1.0}}


@pytest.mark.parametrize("way", WAYS)
def test_mixing__labels_in_the_proportion_of_the_pixels(way: str) -> None:
    images, labels = batch()

    mixed, targets = Mixing(4, **WAYS[way])(images, labels)

    torch.testing.assert_close(mixed.mean((1, 2, 3)), of_labels(targets))
    torch.testing.assert_close(targets.sum(1), torch.ones(64))
    own = targets.gather(1, labels[:, None]).squeeze(1)
    assert own.min() >= 0.5 - 0.07, "a box has whole pixels"
    assert len(set(own.tolist())) > 20, "each image its own share"
    whole = (mixed.frac() == 0).flatten(1).all(1)
    assert {"mixup": not whole.all(), "cutmix": whole.all(), "both": 10 < whole.sum() < 54}[way]


def test_mixing__a_box_of_the_other_image() -> None:
    images, labels = batch(8)
    mixed, targets = Mixing(4, cutmix=1.0)(images, labels)
    other = labels.roll(1)
    for image, own, theirs, target in zip(mixed, labels, other, targets, strict=True):
        rows, columns = (image[0] == theirs).nonzero(as_tuple=True)
        assert set(image.flatten().tolist()) == {float(own), float(theirs)}
        height, width = (int(places.max() - places.min()) + 1 for places in (rows, columns))
        assert height * width == len(rows), "its pixels are a rectangle"
        assert abs(height - width) <= 1
        assert float(target[theirs]) == pytest.approx(len(rows) / 32**2)


def test_mixing__the_seed_repeats_it_and_features_can_be_blended() -> None:
    features, labels = torch.randn(8, 5), torch.arange(8) % 4
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(Mixing(4, mixup=0.2)(features, labels))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], features)
    with pytest.raises(ValueError, match=r"CutMix needs images .*got \(8, 5\)"):
        Mixing(4, cutmix=1.0)(features, labels)


def test_mixing__does_nothing_by_default() -> None:
    assert Mixing(4).does_nothing
    assert not Mixing(4, mixup=0.1).does_nothing
