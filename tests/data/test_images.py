"""Images: modes and formats, resizing against Pillow's own, the decoded cache against the uncached path."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.cache import file_digest
from brain_tumor_tl.data import images
from brain_tumor_tl.data.images import decode_image, eight_bit, load_images, one_channel_of_grey, to_bytes
from brain_tumor_tl.data.index import Index, read_index

Draw = Callable[..., Path]
StartPython = Callable[..., "subprocess.Popen[str]"]
Classes = Sequence[Sequence[str]]
Pixels = NDArray[np.uint8]

SIZE = 16

DECODER = """
import json, os, sys
from pathlib import Path
from brain_tumor_tl.data import images
from brain_tumor_tl.data.index import read_index
from brain_tumor_tl.cache import file_digest

root, cache, classes = sys.argv[1:]
index = read_index(root, json.loads(classes))
decode = images.decode_image

def halting(path, size):
    if path == index.root / index.paths[-1]:
        os.write(1, b"decoding\\n")
        sys.stdin.readline()
    return decode(path, size)

images.decode_image = halting
stored, _ = images.load_images(index, 16, Path(cache))
print("built" if stored.built else "found", file_digest(stored.path / "array.npy"), flush=True)
"""


def uncached(index: Index, channels: int = 1) -> Pixels:
    """Return the images decoded one after the other, without cache or threads: the oracle."""
    decoded = [decode_image(index.root / path, SIZE) for path in index.paths]
    return np.stack([np.broadcast_to(image, (channels, SIZE, SIZE)) for image in decoded])


def never(path: Path, size: int) -> Pixels:
    raise AssertionError(f"{path} was decoded again")


def resized(image: Image.Image, size: int = SIZE) -> Pixels:
    """Return what Pillow itself makes of a picture of 8 bits, `(C, H, W)`."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


@pytest.fixture
def index(image_folder: Path, study_classes: Classes) -> Index:
    return read_index(image_folder, study_classes)


# mode, suffix, Pillow's way from there to L or RGB, channels that come out
MODES: dict[str, tuple[str, str, list[str], int]] = {
    "1": ("1", ".png", ["L"], 1),
    "L": ("L", ".png", [], 1),
    "L as TIFF": ("L", ".tif", [], 1),
    "L as JPEG": ("L", ".jpg", [], 1),
    "L as BMP": ("L", ".bmp", [], 1),
    "LA": ("LA", ".png", ["L"], 1),
    "P": ("P", ".png", ["RGB"], 3),
    "P as BMP": ("P", ".bmp", ["RGB"], 3),
    "RGB": ("RGB", ".png", [], 3),
    "RGB as JPEG": ("RGB", ".jpeg", [], 3),
    "RGB as WebP": ("RGB", ".webp", [], 3),
    "RGBA": ("RGBA", ".png", ["RGB"], 3),
    "RGBA as WebP": ("RGBA", ".webp", ["RGB"], 3),
    "CMYK as JPEG": ("CMYK", ".jpg", ["RGB"], 3),
    "CMYK as TIFF": ("CMYK", ".tif", ["RGB"], 3),
    "YCbCr as TIFF": ("YCbCr", ".tif", ["RGB"], 3),
}


@pytest.mark.parametrize(("mode", "suffix", "way", "channels"), MODES.values(), ids=MODES.keys())
def test_decode_image__mode(mode: str, suffix: str, way: list[str], channels: int, tmp_path: Path, draw: Draw) -> None:
    path = draw(tmp_path / f"scan{suffix}", mode=mode)
    with Image.open(path) as opened:
        assert opened.mode == mode
        expected = opened.copy()
    for step in way:
        expected = expected.convert(step)

    pixels = decode_image(path, SIZE)

    assert pixels.dtype == np.uint8
    assert pixels.shape == (channels, SIZE, SIZE)
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, resized(expected))
    assert pixels.std() > 10


RAMP = np.linspace(0, 1, 80).reshape(8, 10)
DEEP: dict[str, tuple[str, str, NDArray[np.generic], Pixels]] = {
    "I;16 of 12 bits": (
        "I;16",
        ".png",
        (RAMP * 4095).astype(np.uint16),
        np.round((RAMP * 4095).astype(np.uint16) / 4095 * 255).astype(np.uint8),
    ),
    "I;16 as TIFF": (
        "I;16",
        ".tif",
        (RAMP * 65535).astype(np.uint16),
        np.round((RAMP * 65535).astype(np.uint16) / 65535 * 255).astype(np.uint8),
    ),
    "I;16 of 8 bits": ("I;16", ".png", (RAMP * 200).astype(np.uint16), (RAMP * 200).astype(np.uint8)),
    "I;16 constant": ("I;16", ".png", np.full((8, 10), 700, np.uint16), np.zeros((8, 10), np.uint8)),
    "I": (
        "I",
        ".tif",
        np.array([[-1000, 0], [1400, 3000]], np.int32),
        np.array([[0, 64], [153, 255]], np.uint8),
    ),
    "F of fractions": (
        "F",
        ".tif",
        np.array([[0, 0.4], [0.2, 1]], np.float32),
        np.array([[0, 102], [51, 255]], np.uint8),
    ),
    "F of Hounsfield units": (
        "F",
        ".tif",
        np.array([[-1024, 0.5], [1024, 512]], np.float32),
        np.array([[0, 128], [255, 191]], np.uint8),
    ),
    "F of 8 bits": (
        "F",
        ".tif",
        np.array([[0, 2], [254, 255]], np.float32),
        np.array([[0, 2], [254, 255]], np.uint8),
    ),
}


@pytest.mark.parametrize(("mode", "suffix", "values", "expected"), DEEP.values(), ids=DEEP.keys())
def test_decode_image__more_than_8_bits(
    mode: str, suffix: str, values: NDArray[np.generic], expected: Pixels, tmp_path: Path
) -> None:
    path = tmp_path / f"scan{suffix}"
    Image.fromarray(values).save(path)
    with Image.open(path) as opened:
        assert opened.mode == mode

    assert np.array_equal(decode_image(path, SIZE), resized(Image.fromarray(expected)))


def test_decode_image__big_endian(tmp_path: Path) -> None:
    values = (RAMP * 4095).astype(">u2")
    Image.frombytes("I;16B", (10, 8), values.tobytes()).save(tmp_path / "scan.tif")
    with Image.open(tmp_path / "scan.tif") as opened:
        assert opened.mode == "I;16B"

    expected = np.round(values / 4095 * 255).astype(np.uint8)
    assert np.array_equal(decode_image(tmp_path / "scan.tif", SIZE), resized(Image.fromarray(expected)))


@pytest.mark.parametrize(("suffix", "mode"), [(".png", "RGB"), (".bmp", "RGB"), (".tif", "RGB"), (".png", "P")])
def test_decode_image__three_equal_channels_become_one(suffix: str, mode: str, tmp_path: Path, draw: Draw) -> None:
    grey = draw(tmp_path / "grey.png", mode="L")
    with Image.open(grey) as image:
        image.convert("RGB").convert(mode, palette=Image.Palette.ADAPTIVE).save(tmp_path / f"scan{suffix}")

    pixels = decode_image(tmp_path / f"scan{suffix}", SIZE)

    assert pixels.shape == (1, SIZE, SIZE)
    assert np.array_equal(pixels, decode_image(grey, SIZE))


@pytest.mark.parametrize(("colour", "channels"), [(255, 3), (101, 1)], ids=["strong", "gone once resized"])
def test_decode_image__one_coloured_pixel(colour: int, channels: int, tmp_path: Path) -> None:
    picture = np.full((64, 64, 3), 100, np.uint8)
    picture[31, 31, 2] = colour
    Image.fromarray(picture).save(tmp_path / "scan.png")

    pixels = decode_image(tmp_path / "scan.png", SIZE)

    assert np.array_equal(pixels, resized(Image.fromarray(picture))[:channels])
    assert len(pixels) == channels


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_one_channel_of_grey__one_pixel_decides(channel: int) -> None:
    pixels = np.full((4, 5, 3), 7, np.uint8)
    assert np.array_equal(np.asarray(one_channel_of_grey(Image.fromarray(pixels))), pixels[..., 0])

    pixels[3, 4, channel] = 8
    assert np.array_equal(np.asarray(one_channel_of_grey(Image.fromarray(pixels))), pixels)


def test_decode_image__transparent_palette(tmp_path: Path, draw: Draw) -> None:
    path = draw(tmp_path / "scan.png", mode="P", transparency=bytes(range(256)))
    with Image.open(path) as image:
        assert isinstance(image.info["transparency"], bytes)
        expected = image.convert("RGBA").convert("RGB")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(decode_image(path, SIZE), resized(expected))


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA", "HSV", "LAB", "RGBX", "I;16L"])
def test_eight_bit__rare_mode(mode: str) -> None:
    assert eight_bit(Image.new(mode, (4, 4))).mode in ("L", "RGB")


SHAPES = {"smaller": (512, 512), "larger": (9, 9), "same": (SIZE, SIZE), "wide": (200, 31), "tall": (7, 90)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_decode_image__resized_as_pillow_does(shape: tuple[int, int], tmp_path: Path, draw: Draw) -> None:
    path = draw(tmp_path / "scan.png", size=shape)
    with Image.open(path) as image:
        expected = resized(image)

    assert np.array_equal(decode_image(path, SIZE), expected)


def test_decode_image__antialiased(tmp_path: Path) -> None:
    board = (np.indices((256, 256)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "board.png")

    pixels = decode_image(tmp_path / "board.png", SIZE).astype(float)

    # Every pixel is the mean of many squares; a picked one would be 0 or 255, an interpolated one anything.
    assert np.abs(pixels - 127.5).max() < 3


SCALES: dict[str, tuple[list[float], list[int]]] = {
    "8 bits are kept": ([0, 1, 100, 200], [0, 1, 100, 200]),
    "fractions": ([0, 0.4, 1], [0, 102, 255]),
    "fractions below 1": ([0.2, 0.6], [51, 153]),
    "12 bits": ([0, 2048, 4095], [0, 128, 255]),
    "16 bits without black": ([1000, 1400, 3000], [0, 51, 255]),
    "negative": ([-100, 60, 100], [0, 204, 255]),
    "fractions above 1": ([0, 1.2, 3], [0, 102, 255]),
    "constant": ([5000, 5000], [0, 0]),
    "very large": ([0, 3e38], [0, 255]),
}


@pytest.mark.parametrize(("values", "expected"), SCALES.values(), ids=SCALES.keys())
def test_to_bytes__scale(values: list[float], expected: list[int]) -> None:
    scaled = to_bytes(np.array([values]))

    assert scaled.dtype == np.uint8
    assert scaled.tolist() == [expected]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_to_bytes__not_finite(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        to_bytes(np.array([[0.0, value]]))


def test_load_images__grey_as_uncached(index: Index, tmp_path: Path) -> None:
    stored, usable = load_images(index, SIZE, tmp_path / "cache")

    assert stored.built
    assert stored.array.dtype == np.uint8
    assert stored.array.shape == (28, 1, SIZE, SIZE)
    assert np.array_equal(stored.array, uncached(index))
    assert len(np.unique(stored.array.reshape(28, -1), axis=0)) == 28  # or a wrong order would pass
    assert usable.paths == index.paths


@pytest.mark.parametrize("position", [0, 13, -1], ids=["first", "middle", "last"])
def test_load_images__one_in_colour_widens_all(
    position: int, index: Index, tmp_path: Path, draw: Draw, study_classes: Classes
) -> None:
    path = index.root / index.paths[position]
    draw(path, mode="RGB", seed=5)
    index = read_index(index.root, study_classes)

    stored, _ = load_images(index, SIZE, tmp_path / "cache")

    assert stored.array.shape == (28, 3, SIZE, SIZE)
    assert np.array_equal(stored.array, uncached(index, channels=3))
    coloured = [i for i, image in enumerate(stored.array) if not (image == image[0]).all()]
    assert coloured == [position % 28]
    assert sorted(file.name for file in stored.path.iterdir()) == ["about.json", "array.npy"]


def test_load_images__more_than_threads_decode_ahead(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    for number in range(150):
        draw(tmp_path / "set" / ("no" if number % 2 else "yes") / f"{number}.png", seed=number, size=(12, 12))
    index = read_index(tmp_path / "set", [["no"], ["yes"]])

    assert np.array_equal(load_images(index, SIZE, tmp_path / "cache")[0].array, uncached(index))


def test_load_images__decodes_in_parallel(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting, inside, most = threading.Lock(), 0, 0

    def counted(path: Path, size: int) -> Pixels:
        nonlocal inside, most
        with counting:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)
        with counting:
            inside -= 1
        return decode_image(path, size)

    monkeypatch.setattr(images, "decode_image", counted)
    assert load_images(index, SIZE, tmp_path / "cache")[0].array.shape == (28, 1, SIZE, SIZE)
    assert most > 1


def test_load_images__second_start_decodes_nothing(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = load_images(index, SIZE, tmp_path / "cache")
    monkeypatch.setattr(images, "decode_image", never)

    second, usable = load_images(index, SIZE, tmp_path / "cache")

    assert not second.built
    assert np.array_equal(second.array, first.array)
    assert len(usable) == 28


def test_load_images__moved_and_renamed_files_are_not_decoded_again(
    index: Index, tmp_path: Path, study_classes: Classes, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_images(index, SIZE, tmp_path / "cache")
    moved = shutil.move(index.root, tmp_path / "elsewhere")
    (Path(moved) / "Training").rename(Path(moved) / "train")
    (Path(moved) / "Testing").rename(Path(moved) / "test")
    monkeypatch.setattr(images, "decode_image", never)

    assert not load_images(read_index(moved, study_classes), SIZE, tmp_path / "cache")[0].built


def test_load_images__other_size_is_another_entry(index: Index, tmp_path: Path) -> None:
    load_images(index, SIZE, tmp_path / "cache")

    other, _ = load_images(index, 2 * SIZE, tmp_path / "cache")

    assert other.built
    assert other.array.shape == (28, 1, 32, 32)


def test_load_images__other_content_is_another_entry(
    index: Index, tmp_path: Path, draw: Draw, study_classes: Classes
) -> None:
    first, _ = load_images(index, SIZE, tmp_path / "cache")
    draw(index.root / index.paths[3], seed=77)

    second, changed = load_images(read_index(index.root, study_classes), SIZE, tmp_path / "cache")

    assert second.built
    assert np.array_equal(second.array, uncached(changed))
    assert [i for i in range(28) if not np.array_equal(first.array[i], second.array[i])] == [3]


def test_load_images__swapped_files_are_another_entry(index: Index, tmp_path: Path, study_classes: Classes) -> None:
    load_images(index, SIZE, tmp_path / "cache")
    one, other = (index.root / index.paths[position] for position in (10, 20))
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)

    stored, changed = load_images(read_index(index.root, study_classes), SIZE, tmp_path / "cache")

    assert sorted(changed.digests) == sorted(index.digests)
    assert np.array_equal(stored.array, uncached(changed))


def test_load_images__other_decoder_is_another_entry(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_images(index, SIZE, tmp_path / "cache")
    monkeypatch.setattr(images, "DECODER_VERSION", images.DECODER_VERSION + 1)

    assert load_images(index, SIZE, tmp_path / "cache")[0].built


def damage_array(entry: Path) -> None:
    content = bytearray((entry / "array.npy").read_bytes())
    content[len(content) // 2] ^= 0x40
    (entry / "array.npy").write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda entry: os.truncate(entry / "array.npy", 1000),
    "flipped byte": damage_array,
    "about.json gone": lambda entry: (entry / "about.json").unlink(),
    "about.json garbage": lambda entry: (entry / "about.json").write_bytes(os.urandom(200)),
    "bad files forged": lambda entry: (entry / "about.json").write_text(
        (entry / "about.json").read_text().replace('"bad": []', '"bad": [[0, "empty"]]')
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_load_images__damaged_cache_is_made_anew(
    damage: Callable[[Path], object], index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, _ = load_images(index, SIZE, tmp_path / "cache")
    before = stored.path.joinpath("about.json").read_bytes(), file_digest(stored.path / "array.npy")
    damage(stored.path)
    assert not (stored.path / "about.json").is_file() or before != (
        stored.path.joinpath("about.json").read_bytes(),
        file_digest(stored.path / "array.npy"),
    )

    with pytest.warns(UserWarning, match=r"images-\w+ is damaged .*rebuilt") as caught:
        again, usable = load_images(index, SIZE, tmp_path / "cache")

    assert len(caught) == 1
    assert again.built
    assert np.array_equal(again.array, uncached(index))
    assert len(usable) == 28
    monkeypatch.setattr(images, "decode_image", never)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not load_images(index, SIZE, tmp_path / "cache")[0].built


def test_load_images__two_processes_decode_once(
    index: Index, tmp_path: Path, study_classes: Classes, start_python: StartPython
) -> None:
    arguments = (DECODER, index.root.as_posix(), tmp_path / "cache", json.dumps(study_classes))
    first = start_python(*arguments)
    assert first.stdout is not None
    assert first.stdout.readline() == "decoding\n"
    second = start_python(*arguments)
    assert second.stdout is not None
    assert second.stdout.readline().startswith("Waiting for another run that holds ")

    said_first, _ = first.communicate("go\n", timeout=30)
    said_second, _ = second.communicate(timeout=30)

    built, found = said_first.split(), said_second.split()
    assert (built[0], found[0]) == ("built", "found")
    assert built[1] == found[1]
    assert np.array_equal(load_images(index, SIZE, tmp_path / "cache")[0].array, uncached(index))


def test_load_images__killed_in_the_middle(
    index: Index, tmp_path: Path, study_classes: Classes, start_python: StartPython
) -> None:
    first = start_python(DECODER, index.root.as_posix(), tmp_path / "cache", json.dumps(study_classes))
    assert first.stdout is not None
    assert first.stdout.readline() == "decoding\n"

    first.kill()
    first.wait(timeout=30)
    assert not [path for path in (tmp_path / "cache").iterdir() if re.fullmatch(r"images-\w+", path.name)]

    stored, _ = load_images(index, SIZE, tmp_path / "cache")
    assert stored.built
    assert np.array_equal(stored.array, uncached(index))
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".tmp"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system can't take space ahead")
def test_load_images__full_disk(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(OSError, match=r"Can't write images to the cache .*No space left on device.*data\.cache_dir=PATH"):
        load_images(index, SIZE, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []


@pytest.mark.real_data
def test_load_images__real_data(
    real_data: Path, study_classes: Classes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = read_index(real_data, study_classes)

    stored, usable = load_images(index, SIZE, tmp_path / "cache")

    assert stored.array.shape == (3264, 1, SIZE, SIZE)
    assert usable.bad == ()
    for position in range(0, 3264, 163):
        with Image.open(real_data / index.paths[position]) as image:
            assert np.array_equal(stored.array[position], resized(image)[:1])
    monkeypatch.setattr(images, "decode_image", never)
    assert not load_images(index, SIZE, tmp_path / "cache")[0].built
