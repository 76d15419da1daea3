"""The palette is told apart by the colour-blind, in a simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from brain_tumor_tl.reporting.palette import COLOURS, DASHES, line_style

# Machado, Oliveira, Fernandes 2009, "A Physiologically-based Model for Simulation of Color Vision Deficiency", IEEE
# TVCG 15:6, table 1, severity 1.0, for linear RGB.
MACHADO = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
DISTINCT = 12.0  # CIE 1976 differences; 2.3 is just noticeable side by side


def linear(colour: str) -> NDArray[np.float64]:
    """Return a colour such as #0072B2 in linear RGB."""
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear RGB in CIE L*a*b* under D65."""
    x, y, z = np.cbrt(np.maximum(TO_XYZ @ rgb / np.array([0.95047, 1, 1.08883]), 1e-6))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", MACHADO)
def test_colours__are_told_apart(sight: str) -> None:
    seen = {colour: lab(np.clip(MACHADO[sight] @ linear(colour), 0, 1)) for colour in COLOURS}
    distances = {(a, b): float(np.linalg.norm(seen[a] - seen[b])) for a, b in combinations(COLOURS, 2)}

    assert len(distances) == 15
    assert min(distances.values()) > DISTINCT, min(distances.items(), key=lambda pair: pair[1])


def test_colours__the_simulation_finds_red_and_green_alike() -> None:
    red, green = (lab(np.clip(MACHADO["deuteranopia"] @ linear(colour), 0, 1)) for colour in ("#C44E00", "#6E7B00"))

    assert float(np.linalg.norm(red - green)) < DISTINCT


@pytest.mark.parametrize("background", ["#fdfdfc", "#16181c"], ids=["light", "dark"])
def test_colours__stand_out_from_the_page(background: str) -> None:
    page = float((TO_XYZ @ linear(background))[1])
    for colour in COLOURS:
        own = float((TO_XYZ @ linear(colour))[1])
        assert (max(page, own) + 0.05) / (min(page, own) + 0.05) > 2, colour


def test_line_style__no_two_of_24_lines_are_alike() -> None:
    styles = [tuple(line_style(place).values()) for place in range(len(COLOURS) * len(DASHES))]

    assert len(set(styles)) == 24
