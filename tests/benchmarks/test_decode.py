from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import decode

Draw = Callable[..., Path]
Figures = Callable[..., list[dict[str, Any]]]


def test_main__every_variant(figures: Figures) -> None:
    rows = figures(decode.main, "--images 12 --image-size 32 --repeats 2 --workers 2")
    assert [row["variant"] for row in rows] == decode.VARIANTS
    assert all(row["seconds"]["repeats"] == 2 and row["seconds"]["least"] > 0 for row in rows)


@pytest.mark.parametrize("variants", ["warm", "warm cold", "quick"])
def test_main__impossible_variants(variants: str) -> None:
    with pytest.raises(SystemExit, match="Expected --variants among cold, warm"):
        decode.main(["--variants", *variants.split()])


def test_decode_in__all_pools_read_every_file(image_folder: Path) -> None:
    paths = decode.files_below(image_folder)
    assert len(paths) == 28
    for pool in (None, ThreadPoolExecutor(2), decode.forked_processes(2)):
        assert decode.decode_in(pool, paths, 16) == 28


def test_decode_file__a_pixel_of_the_resized_grey_image(tmp_path: Path, draw: Draw) -> None:
    path = draw(tmp_path / "image.png", mode="RGB")
    with Image.open(path) as image:
        expected = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BILINEAR))[0, 0]
    assert decode.decode_file(path, 8) == expected


def test_open_data__knows_the_study_s_folders(image_folder: Path, tmp_path: Path) -> None:
    assert decode.open_data(image_folder, 16, tmp_path / "cache") == 28
