"""Pictures: files found in order; images in memory as the same pixels as in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from brain_tumor_tl.data.decode import decode_image
from brain_tumor_tl.inference.pictures import find_pictures, picture_of, pixels_of, stacked
from tests.conftest import Draw


def test_find_pictures__files_as_given_and_folders_in_bytewise_order(tmp_path: Path, draw: Draw) -> None:
    names = ["b/2.png", "b/10.png", "b/deep/Z.jpg", "b/deep/a.tif", "a.png"]
    for name in names:
        draw(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("no picture")

    found = find_pictures([tmp_path / "a.png", tmp_path / "b", tmp_path / "absent.png"])

    shown = [path.relative_to(tmp_path).as_posix() for path in found]
    assert shown == ["a.png", "b/10.png", "b/2.png", "b/deep/Z.jpg", "b/deep/a.tif", "absent.png"]


def test_find_pictures__a_folder_without_any(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected images in .*, found none"):
        find_pictures([tmp_path])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_pixels_of__an_image_in_memory_is_as_its_file(tmp_path: Path, draw: Draw, mode: str) -> None:
    path = draw(tmp_path / "a.png", seed=3, mode=mode)
    expected = decode_image(path, 24)

    with Image.open(path) as image:
        sources: dict[str, Any] = {"text": str(path), "path": path, "PIL": image.copy()}
        if mode in ("L", "RGB"):
            array = np.asarray(image)
            sources |= {"array": array, "tensor": torch.tensor(array if mode == "L" else array.transpose(2, 0, 1))}
            sources |= {"float": torch.tensor(np.atleast_3d(array).transpose(2, 0, 1) / 255, dtype=torch.float64)}
    sources["file"] = path.open("rb")
    found = {name: pixels_of(source, 24, None, own_window=True) for name, source in sources.items()}
    sources["file"].close()

    assert {name: np.array_equal(pixels, expected) for name, pixels in found.items()} == dict.fromkeys(found, True)


def test_pixels_of__intensities_in_memory_are_as_in_a_file_by_the_runs_window(tmp_path: Path) -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    Image.fromarray(values).save(tmp_path / "deep.png")
    expected = decode_image(tmp_path / "deep.png", 32, (0.0, 4095.0))

    assert np.array_equal(pixels_of(values, 32, (0.0, 4095.0), own_window=True), expected)
    assert np.array_equal(pixels_of(Image.fromarray(values), 32, (0.0, 4095.0), own_window=True), expected)
    assert expected.max() == 255
    assert not np.array_equal(expected, pixels_of(values, 32, None, own_window=True)), "the window matters"


def test_picture_of__an_image_is_turned_as_its_tag_says(tmp_path: Path) -> None:
    image = Image.linear_gradient("L")
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as opened:
        turned = picture_of(opened)

    assert np.asarray(turned)[128, 10] > np.asarray(turned)[128, 245]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"an array of shape .*\(H, W, 3\), got \(4, 4, 2\)"),
        (np.zeros(4, np.uint8), r"got \(4,\)"),
        (np.zeros((0, 4), np.uint8), r"got \(0, 4\)"),
        (torch.zeros(4, 4, 3), r"a tensor of shape .*\(3, H, W\), got \(4, 4, 3\)"),
        (np.full((4, 4), np.nan), "finite values"),
    ],
    ids=["two-channels", "flat", "empty", "channels-last-tensor", "nan"],
)
def test_picture_of__other_shapes_and_values(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        picture_of(image)


def test_stacked__grey_pictures_among_coloured_ones_have_three_channels() -> None:
    grey, colour = np.full((1, 2, 2), 7, np.uint8), np.zeros((3, 2, 2), np.uint8)

    assert stacked([grey, grey]).shape == (2, 1, 2, 2)
    assert stacked([grey, colour])[0].tolist() == [[[7, 7], [7, 7]]] * 3
