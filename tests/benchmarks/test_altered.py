from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.random import PCG64, RandomState
from PIL import Image

from benchmarks import altered
from brain_tumor_tl.data.sources.phantom import draw_head

Figures = Callable[..., list[dict[str, Any]]]


@pytest.mark.parametrize("kind", altered.ALTERATIONS)
def test_alterations__each_changes_the_picture(kind: str) -> None:
    picture = Image.fromarray(draw_head("glioma_tumor", 96, RandomState(PCG64(1))))

    result = altered.ALTERATIONS[kind](picture)

    assert result.mode == "L"
    assert result.size != picture.size or not np.array_equal(np.asarray(result), np.asarray(picture))


@pytest.mark.benchmark
def test_main__every_row(figures: Figures) -> None:
    rows = figures(altered.main, "--images 16 --image-size 128 --alter 4 --kinds mirrored equalised")

    assert rows == [
        {"alteration": "mirrored", "of": 4, "found": 4, "false pairs": 0},
        {"alteration": "equalised", "of": 4, "found": 4, "false pairs": 0},
    ]
