"""Align: known maps are recovered, and other images do not agree."""

from __future__ import annotations

import pytest
import torch
from numpy.random import PCG64, RandomState
from torch import Tensor

from brain_tumor_tl.data.leakage.align import SCALES, SHIFT, align, blur, clamp_maps, compare, correlation, warp
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


@pytest.mark.parametrize("values", MAPS.values(), ids=MAPS.keys())
def test_align__finds_the_map(values: tuple[float, ...]) -> None:
    second, wanted = head(), torch.tensor([values])
    first = 0.8 * warp(second[:, None], wanted)[0][:, 0] + 20  # gain and offset are solved for

    left, found = align(first, second, SAME)

    assert left.tolist() == [0]
    assert found.maps.tolist()[0] == pytest.approx(values, abs=0.01)
    assert found.detail.item() > 0.97
    assert found.grey.item() > 0.995


def test_align__another_head_is_left_out_or_disagrees() -> None:
    left, found = align(head(0), head(1), SAME)

    assert len(left) == 0 or found.detail.item() < 0.8


def test_align__a_negative_is_no_copy() -> None:
    left, _ = align(head(), 255 - head(), SAME)

    assert len(left) == 0


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

    result = blur(spot)

    assert result.sum().item() == pytest.approx(100, rel=1e-4)
    assert result.max().item() < 5
