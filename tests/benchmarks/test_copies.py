from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import copies
from benchmarks.images import write_many

Figures = Callable[..., list[dict[str, Any]]]


def test_write_thumbnails__the_images_of_a_folder_then_phantoms_and_their_copies(tmp_path: Path) -> None:
    write_many(tmp_path / "images", 8, 32)

    constructed = copies.write_thumbnails(tmp_path / "all.npy", 18, tmp_path / "images", tmp_path)

    found = np.load(tmp_path / "all.npy")
    assert (found.shape, constructed) == ((18, 128, 128), 3)
    assert len({image.tobytes() for image in found}) == 18
    assert np.array_equal(found[9], copies.drawn(1))
    assert np.array_equal(found[16], copies.altered(found[9], 16))


@pytest.mark.benchmark
def test_main__every_row_finds_what_was_constructed(figures: Figures) -> None:
    rows = figures(copies.main, "--sizes 20 --busy 0 1")

    assert [(row["busy processes beside"], row["compared with"]) for row in rows] == [(0, 20), (1, 20)]
    assert all(row["of these found"] == row["constructed copies"] == 6 for row in rows)
    assert all(row["processor seconds"] > 0 and row["own peak MB"] > 50 for row in rows)
