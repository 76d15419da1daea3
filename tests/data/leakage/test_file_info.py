"""FileInfo: one digest for one image, bad files named, the cache against a second reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from brain_tumor_tl.data.decode import DECODER
from brain_tumor_tl.data.index import read_index
from brain_tumor_tl.data.leakage import file_info
from brain_tumor_tl.data.leakage.file_info import THUMBNAIL, load_file_info, read_file

Draw = Callable[..., Path]


def test_read_file__one_digest_for_one_image(tmp_path: Path, draw: Draw) -> None:
    grey = draw(tmp_path / "grey.png", seed=1)
    with Image.open(grey) as image:
        image.convert("RGB").save(tmp_path / "rgb.bmp")
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png")

    names = ("grey.png", "rgb.bmp", "turned.png")
    found = {name: read_file(tmp_path / name) for name in names}

    first, second, third = (found[name][0] for name in names)
    assert (first.width, first.height, first.mode, first.format) == (40, 32, "L", "PNG")
    assert (second.mode, second.format) == ("RGB", "BMP")
    assert first.pixels == second.pixels != third.pixels
    assert first.size == grey.stat().st_size
    assert np.array_equal(found["grey.png"][1], found["rgb.bmp"][1])
    assert found["grey.png"][1].shape == (THUMBNAIL, THUMBNAIL)


def test_read_file__shape_counts(tmp_path: Path) -> None:
    for name, size in (("wide", (8, 2)), ("tall", (2, 8))):
        Image.new("L", size, 7).save(tmp_path / f"{name}.png")

    assert read_file(tmp_path / "wide.png")[0].pixels != read_file(tmp_path / "tall.png")[0].pixels


def test_load_file_info__window_and_pillow_are_in_the_key_P6_P10(
    image_folder: Path, tmp_path: Path, study_classes: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = image_folder / "Training" / "no_tumor" / "a deep one.png"
    Image.fromarray(np.full((8, 8), 1000, np.uint16)).save(path)
    index = read_index(image_folder, study_classes)
    row = index.paths.index("Training/no_tumor/a deep one.png")

    found = {high: load_file_info(index, tmp_path / "cache", (0, high)).thumbnails[row] for high in (4095, 2000)}
    key = load_file_info(index, tmp_path / "cache", (0, 2000)).key
    monkeypatch.setattr("brain_tumor_tl.data.decode.DECODER", (*DECODER[:1], "12.3.0"))

    assert np.unique(found[4095]).tolist() == [62]
    assert np.unique(found[2000]).tolist() == [128]
    assert load_file_info(index, tmp_path / "cache", (0, 2000)).key != key


def test_load_file_info__bad_files_and_the_cache(
    image_folder: Path, tmp_path: Path, study_classes: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = image_folder / "Training" / "no_tumor" / "a broken one.png"
    bad.write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    index = read_index(image_folder, study_classes)

    first = load_file_info(index, tmp_path / "cache")
    monkeypatch.setattr(file_info, "read_file", None)
    second = load_file_info(index, tmp_path / "cache")

    assert len(first.index) == len(first.files) == len(first.thumbnails) == 28
    assert [path for path, _ in first.index.bad] == ["Training/no_tumor/a broken one.png"]
    assert first.files == second.files
    assert np.array_equal(first.thumbnails, second.thumbnails)
    for position in (0, 13, 27):  # bad files must not shift what belongs to the others
        path = first.index.root / first.index.paths[position]
        assert first.files[position].size == path.stat().st_size
