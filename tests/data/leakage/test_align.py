"""Align: known maps are recovered, and other images do not agree."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from numpy.random import PCG64, RandomState
from torch import Tensor

from brain_tumor_tl.data.leakage.align import (
    DETAIL,
    LEVELS,
    SCALES,
    SHIFT,
    Alignment,
    blur,
    clamp_maps,
    compare,
    correlation,
    grey_ranks,
    match_tones,
    pool,
    refine,
    warp,
)
from brain_tumor_tl.data.sources.phantom import draw_head

SAME = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
MAPS = {
    "nothing": (1.0, 0.0, 1.0, 0.0),
    "shifted": (1.0, 0.04, 1.0, -0.03),
    "scaled": (0.95, 0.0, 1.04, 0.0),
    "both": (0.95, 0.03, 0.97, 0.02),
}


def head(seed: int = 0) -> Tensor:
    """Return one synthetic head, `(1, 128, 128)`."""
    return torch.from_numpy(draw_head("glioma_tumor", 128, RandomState(PCG64([5, seed])))).float()[None]


def aligned(first: Tensor, second: Tensor) -> Alignment | None:
    """Return how well a pair agrees after all levels, None if one of them drops it."""
    maps = SAME
    for level in LEVELS:
        agree, maps, _ = refine(pool(first, level.pooling), pool(second, level.pooling), maps, level)
        if not agree.all():
            return None
    return compare(first, second, maps)


@pytest.mark.parametrize("values", MAPS.values(), ids=MAPS.keys())
def test_refine__finds_the_map(values: tuple[float, ...]) -> None:
    second, wanted = head(), torch.tensor([values])
    first = 0.8 * warp(second[:, None], wanted)[0][:, 0] + 20  # gain and offset are solved for

    found = aligned(first, second)

    assert found is not None
    assert found.maps.tolist()[0] == pytest.approx(values, abs=0.01)
    assert found.detail.item() > 0.97
    assert found.grey.item() > 0.995


def test_refine__another_head_and_a_negative_are_dropped() -> None:
    assert aligned(head(0), head(1)) is None
    assert aligned(head(), 255 - head()) is None


TONES = {
    "gamma": lambda image: 255 * (image / 255) ** 2,
    "white clipped": lambda image: (1.6 * image).clamp(max=255),
    "both clipped": lambda image: (2 * image - 120).clamp(0, 255),
    "equalised": lambda image: 255 * grey_ranks(image, torch.ones_like(image))[0].float()[image.long()],
}


@pytest.mark.parametrize("change", TONES.values(), ids=TONES.keys())
def test_compare__other_tones_of_the_same_image(change: Callable[[Tensor], Tensor]) -> None:
    edited = change(head())
    plain = correlation(head(), edited, torch.ones_like(edited))

    for first, second in ((head(), edited), (edited, head())):
        found = compare(first, second, SAME)
        assert (found.detail > 0.99).all()
        assert (found.grey > torch.maximum(plain, torch.tensor(0.995))).all()


def test_compare__other_tones_make_no_copy_of_another_head() -> None:
    assert compare(head(0), head(1), SAME).detail.item() < 0.8


def test_match_tones__against_sorting() -> None:
    generator = torch.Generator().manual_seed(2)
    images, target = (torch.randperm(256, generator=generator)[:64].float().view(1, 8, 8) for _ in range(2))
    inside = torch.ones_like(images)
    inside[:, :2] = 0

    found = match_tones(images, target, inside)[inside > 0]

    ranks = images[inside > 0].argsort().argsort()
    assert torch.allclose(found, target[inside > 0].sort().values[ranks], atol=1e-3)


def test_pool__is_the_mean_of_blocks() -> None:
    assert torch.allclose(pool(head(), 8), torch.nn.functional.avg_pool2d(head(), 8), atol=1e-3)


def test_compare__counts_what_is_covered() -> None:
    found = compare(head(), head(), torch.tensor([[1.0, 0.5, 1.0, 0.0]]))

    assert found.overlap.item() == pytest.approx(0.75)


def test_clamp_maps__limits_to_a_small_crop() -> None:
    assert clamp_maps(torch.tensor([[9.0, 9.0, 0.0, -9.0]])).tolist()[0] == pytest.approx(
        [SCALES[1], SHIFT, SCALES[0], -SHIFT]
    )


def test_correlation__as_pearson_under_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(2, 6, 6, generator=generator) for _ in range(2))
    weights = torch.zeros(2, 6, 6)
    weights[:, :4] = 1

    found = correlation(first, second, weights)

    for i in range(2):
        expected = torch.corrcoef(torch.stack([first[i, :4].flatten(), second[i, :4].flatten()]))[0, 1]
        assert found[i].item() == pytest.approx(expected.item(), abs=1e-5)
    assert correlation(torch.ones(1, 4, 4), first[:1, :4, :4], torch.ones(1, 4, 4)).item() == 0


def test_blur__keeps_the_mean_of_an_inner_spot() -> None:
    spot = torch.zeros(1, 64, 64)
    spot[0, 32, 32] = 100

    result = blur(spot, DETAIL)

    assert result.sum().item() == pytest.approx(100, rel=1e-4)
    assert result.max().item() < 5
