from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor

from brain_tumor_tl.model.faithfulness import NOISE, SHARES, impute, removal_curves

Plane = np.ndarray[Any, Any]


def solved(image: Plane, removed: Plane) -> Plane:
    """Return an image imputed by scipy's direct solver, equation by equation (section 4.2 of Rong et al.)."""
    number = {place: row for row, place in enumerate(zip(*np.nonzero(removed), strict=True))}
    entries, right = [], np.zeros(len(number))
    for (y, x), row in number.items():
        near = [(y + v, x + h, 1 / 6 if 0 in (v, h) else 1 / 12) for v in (-1, 0, 1) for h in (-1, 0, 1) if v or h]
        inside = [(p, q, w) for p, q, w in near if 0 <= p < image.shape[0] and 0 <= q < image.shape[1]]
        entries.append((sum(w for *_, w in inside), row, row))
        for p, q, w in inside:
            if (p, q) in number:
                entries.append((-w, row, number[p, q]))
            else:
                right[row] += w * image[p, q]
    values, rows, columns = zip(*entries, strict=True)
    result = image.astype(float)
    result[removed] = spsolve(coo_matrix((values, (rows, columns))).tocsc(), right)
    return result


def textured(height: int, width: int, seed: int = 0) -> Plane:
    rough = np.cumsum(np.cumsum(np.random.default_rng(seed).normal(size=(height, width)), 0), 1)
    return np.asarray((rough - rough.min()) * 255 / np.ptp(rough))


def removed_pixels(kind: str, height: int, width: int) -> Plane:
    y, x = np.mgrid[:height, :width]
    blob = np.hypot(y - height * 0.45, x - width * 0.55) < 0.35 * min(height, width)
    kinds: dict[str, Plane] = {
        "blob": blob,
        "edges": ~blob,
        "noise": np.random.default_rng(1).random((height, width)) < 0.8,
    }
    return kinds[kind]


@pytest.mark.parametrize("kind", ["blob", "edges", "noise"])
def test_impute__solves_the_equations(kind: str) -> None:
    first, second = textured(45, 50), textured(45, 50, seed=3)
    removed = removed_pixels(kind, 45, 50)
    images = torch.tensor(np.stack([np.stack([first, second])] * 2), dtype=torch.float32)  # (2, 2, 45, 50)
    masks = torch.tensor(np.stack([removed, ~removed]))

    result = impute(images, masks).numpy()

    for image, mask in enumerate((removed, ~removed)):
        for channel, plane in enumerate((first, second)):
            error = np.abs(result[image, channel] - solved(plane, mask))
            assert error[~mask].max() < 1e-3
            assert error.max() < NOISE  # what is added to each anyway


def test_impute__of_a_plain_image_is_plain() -> None:
    removed = torch.tensor(removed_pixels("noise", 40, 40))[None]

    assert torch.allclose(impute(torch.full((1, 1, 40, 40), 77.0), removed), torch.tensor(77.0), atol=1e-3)


def bright_square() -> tuple[Tensor, Tensor]:
    """Return an image `(1, 1, 32, 32)` with one bright square, and where it is `(1, 32, 32)`."""
    place = torch.zeros(1, 32, 32, dtype=torch.bool)
    place[:, 4:12, 18:28] = True
    return 40 + 160.0 * place[:, None], place


def brightness(images: Tensor) -> Tensor:
    """Return a classifier that knows the square: the share of its 80 pixels that are bright, `(B,)`."""
    return ((images > 130).sum((1, 2, 3)) / 80).clamp(max=1)


def test_removal_curves__rank_the_right_map_first_and_its_opposite_last() -> None:
    images, place = bright_square()
    right = place.float() + 0.1 * torch.rand(place.shape, generator=torch.Generator().manual_seed(0))
    noise = torch.rand(place.shape, generator=torch.Generator().manual_seed(1))

    curves = [removal_curves(brightness, images, maps) for maps in (right, -right, noise)]

    assert all(curve.shape == (1, 2, len(SHARES)) for curve in curves)
    scores = [float((curve[0, 1] - curve[0, 0]).mean()) for curve in curves]
    assert scores[0] > 0.9
    assert scores[1] == pytest.approx(-scores[0], abs=0.05)
    assert abs(scores[2]) < 0.15
    assert torch.equal(curves[0], removal_curves(brightness, images, right))  # the noise is always the same


def test_removal_curves__remove_these_shares() -> None:
    images = torch.arange(400.0).reshape(1, 1, 20, 20) / 2
    seen: list[Tensor] = []

    def probability(changed: Tensor) -> Tensor:
        seen.append(changed)
        return torch.zeros(1)

    removal_curves(probability, images, images[:, 0])

    changed = [(image != images).reshape(-1).nonzero()[:, 0].tolist() for image in seen]
    assert len(changed) == 2 * len(SHARES)
    for place, share in enumerate(SHARES):
        count = round(400 * share)
        assert changed[2 * place] == list(range(400 - count, 400))  # the most important
        assert changed[2 * place + 1] == list(range(count))
