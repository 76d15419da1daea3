"""Decode: modes, formats, bit depths and orientations against Pillow's own and against arithmetic."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.data.decode import decode_image, eight_bit, one_channel_of_grey, read_picture, to_bytes
from brain_tumor_tl.data.formats import UnreadableError

Draw = Callable[..., Path]
Pixels = NDArray[np.uint8]

SIZE = 16


def resized(image: Image.Image, size: int = SIZE) -> Pixels:
    """Return what Pillow itself makes of a picture of 8 bits, `(C, H, W)`."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


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


SCALES: dict[str, tuple[list[float], tuple[float, float] | None, list[int]]] = {
    "own range": ([1000, 1400, 3000], None, [0, 51, 255]),
    "negative": ([-100, 60, 100], None, [0, 204, 255]),
    "constant": ([5000, 5000], None, [0, 0]),
    "very large": ([0, 3e38], None, [0, 255]),
    "window of 8 bits": ([0, 1, 100, 200], (0, 255), [0, 1, 100, 200]),
    "window of fractions": ([0.2, 0.6], (0, 1), [51, 153]),
    "outside the window": ([-5, 0, 2048, 9000], (0, 4096), [0, 0, 128, 255]),
}


@pytest.mark.parametrize(("values", "window", "expected"), SCALES.values(), ids=SCALES.keys())
def test_to_bytes__scale(values: list[float], window: tuple[float, float] | None, expected: list[int]) -> None:
    scaled = to_bytes(np.array([values]), window)

    assert scaled.dtype == np.uint8
    assert scaled.tolist() == [expected]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_decode_image__not_finite(value: float, tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.0, value]], np.float32)).save(tmp_path / "scan.tif")

    with pytest.raises(ValueError, match="not finite"):
        decode_image(tmp_path / "scan.tif", SIZE)


DEEP_VALUES = np.arange(64, dtype=np.uint16).reshape(8, 8) * 65  # 12 bits
TURNED = np.round(DEEP_VALUES / 4095 * 255).astype(np.uint8)


def write_tiff(path: Path, values: NDArray[np.generic], photometric: int, kind: int = 1, planes: bool = False) -> Path:
    """Write uncompressed TIFF, little-endian unless `values` are not: `(H, W)`, `(H, W, C)`, or planes `(C, H, W)`."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    samples = 1 if values.ndim == 2 else len(values) if planes else values.shape[2]
    height, width = values.shape[-2:] if planes else values.shape[:2]
    end = 8 + 2 + 12 * 11 + 4  # of the directory, where what is too long for it begins
    each, content = [values.dtype.itemsize * 8] * samples, values.tobytes()
    tags: list[tuple[int, list[int]]] = [
        (256, [width]), (257, [height]), (258, each), (259, [1]), (262, [photometric]), (273, [end + 4 * samples]),
        (277, [samples]), (278, [height]), (279, [len(content)]), (284, [2 if planes else 1]), (339, [kind] * samples),
    ]  # fmt: skip
    further, entries = b"", b""
    for tag, numbers in tags:
        packed = struct.pack(f"{order}{len(numbers)}H", *numbers)
        if len(packed) > 4:
            packed, further = struct.pack(f"{order}I", end + len(further)), further + packed
        entries += struct.pack(f"{order}HHI", tag, 3, len(numbers)) + packed.ljust(4, b"\0")
    further = further.ljust(4 * samples, b"\0")
    head = struct.pack(f"{order}2sHI", b"MM" if order == ">" else b"II", 42, 8)
    path.write_bytes(head + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + further + content)
    return path


WHITE_IS_ZERO: dict[str, tuple[NDArray[np.generic], int]] = {
    "8 bits": (255 - TURNED, 1),
    "16 bits": (65535 - DEEP_VALUES, 1),
    "12 of 16 bits": (4095 - DEEP_VALUES, 1),
    "float": ((1 - DEEP_VALUES / 4095).astype(np.float32), 3),
    "float beyond 1": ((4095.0 - DEEP_VALUES).astype(np.float32), 3),
}


@pytest.mark.parametrize(("values", "kind"), WHITE_IS_ZERO.values(), ids=WHITE_IS_ZERO.keys())
def test_read_picture__white_is_zero_P1(values: NDArray[np.generic], kind: int, tmp_path: Path) -> None:
    picture = read_picture(write_tiff(tmp_path / "scan.tif", values, 0, kind)).image

    assert np.abs(np.asarray(picture).astype(int) - TURNED).max() <= 1


@pytest.mark.parametrize("values", [65535 - DEEP_VALUES, 255 - TURNED], ids=["16 bits", "8 bits"])
def test_read_picture__white_is_zero_compressed_P1(values: NDArray[np.generic], tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    Image.fromarray(values).save(path, compression="tiff_lzw")
    black, white = (struct.pack("<HHIHH", 262, 3, 1, zero, 0) for zero in (1, 0))
    assert path.read_bytes().count(black) == 1
    path.write_bytes(path.read_bytes().replace(black, white))

    assert np.array_equal(np.asarray(read_picture(path).image), TURNED)


NUMBERS = {
    "unsigned 32 bits": (DEEP_VALUES.astype(np.uint32) * 1000000, 1),
    "signed 16 bits": (DEEP_VALUES.astype(np.int16) - 2000, 2),
    "signed 8 bits": ((TURNED.astype(np.int16) - 128).astype(np.int8), 2),
}


@pytest.mark.parametrize(("values", "kind"), NUMBERS.values(), ids=NUMBERS.keys())
def test_read_picture__numbers_of_tiff(values: NDArray[np.generic], kind: int, tmp_path: Path) -> None:
    picture = read_picture(write_tiff(tmp_path / "scan.tif", values, 1, kind)).image

    assert np.abs(np.asarray(picture).astype(int) - TURNED).max() <= 1


COLOURS = np.stack([DEEP_VALUES, DEEP_VALUES // 2, DEEP_VALUES // 3], axis=-1)
REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "P2 RGB TIFF of 16 bits": (lambda path: write_tiff(path, COLOURS, 2), r"more than 8 bits \(tag 258\).*PNG of 16"),
    "P3 separate planes of 16 bits": (
        lambda path: write_tiff(path, np.moveaxis(COLOURS, -1, 0), 2, planes=True),
        r"more than 8 bits \(tag 258\)",
    ),
    "P3 separate planes of 8 bits": (
        lambda path: write_tiff(path, np.moveaxis(COLOURS // 16, -1, 0).astype(np.uint8), 2, planes=True),
        r"separate planes \(tag 284\).*save it as PNG",
    ),
    "P7 float of 64 bits": (
        lambda path: write_tiff(path, DEEP_VALUES / 4095, 1, 3),
        r"1 x 64 bits a pixel, floating point, which Pillow can't read; save it as",
    ),
    "P1 white is zero, big-endian": (
        lambda path: write_tiff(path, (65535 - DEEP_VALUES).astype(">u2"), 0),
        r"1 x 16 bits a pixel, unsigned integers, which Pillow can't read",
    ),
    "D10 four pages": (
        lambda path: Image.new("L", (8, 8)).save(path, save_all=True, append_images=[Image.fromarray(TURNED)] * 3),
        r"4 pages or frames in one file; save each image",
    ),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_decode_image__refused(make: Callable[[Path], object], reason: str, tmp_path: Path) -> None:
    make(tmp_path / "scan.tif")

    with pytest.raises(UnreadableError, match=reason):
        decode_image(tmp_path / "scan.tif", SIZE)


FOREIGN = {"JPEG 2000": "JPEG2000", "AVIF": "AVIF"}


@pytest.mark.parametrize("kind", FOREIGN)
def test_decode_image__format_is_named_D27(kind: str, tmp_path: Path) -> None:
    try:
        Image.fromarray(TURNED).save(tmp_path / "scan.jpg", format=FOREIGN[kind])
    except (KeyError, OSError):
        pytest.skip(f"Pillow can't write {kind} here")

    with pytest.raises(UnreadableError, match=rf"^{kind}, a format that is not read; save"):
        decode_image(tmp_path / "scan.jpg", SIZE)


def write_png(path: Path, values: NDArray[np.uint16], colour: int) -> Path:
    """Write PNG of 16 bits, each row with another of the five filters of the format's specification."""
    rows = values.astype(">u2").reshape(len(values), -1).view(np.uint8).astype(int)
    step = 2 * (1 if values.ndim == 2 else values.shape[2])  # bytes of a pixel
    lines, above = b"", np.zeros_like(rows[0])
    for number, row in enumerate(rows):
        left, corner = (np.concatenate([np.zeros(step, int), line[:-step]]) for line in (row, above))
        estimate = left + above - corner
        near = np.abs(np.stack([left, above, corner]) - estimate)
        paeth = np.where((near[0] <= near[1]) & (near[0] <= near[2]), left, np.where(near[1] <= near[2], above, corner))
        guess = (0 * row, left, above, (left + above) // 2, paeth)[number % 5]
        lines += bytes([number % 5]) + ((row - guess) % 256).astype(np.uint8).tobytes()
        above = row
    header = struct.pack(">IIBBBBB", values.shape[1], len(values), 16, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    content = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(content))
    return path


OPAQUE = np.full_like(DEEP_VALUES, 65535)
NOISE = np.random.RandomState(3).randint(0, 65536, (8, 8, 3)).astype(np.uint16)
DEEP_PNG: dict[str, tuple[NDArray[np.uint16], int, NDArray[np.uint16]]] = {
    "grey": (DEEP_VALUES, 0, DEEP_VALUES),
    "grey and transparency": (np.stack([DEEP_VALUES, OPAQUE], axis=-1), 4, DEEP_VALUES),
    "grey in colour": (np.stack([DEEP_VALUES] * 3, axis=-1), 2, DEEP_VALUES),
    "colour": (COLOURS, 2, COLOURS),
    "colour and transparency": (np.dstack([COLOURS, OPAQUE]), 6, COLOURS),
    "noise in colour": (NOISE, 2, NOISE),
}


@pytest.mark.parametrize(("values", "colour", "seen"), DEEP_PNG.values(), ids=DEEP_PNG.keys())
def test_read_picture__png_of_16_bits_P2_D12(
    values: NDArray[np.uint16], colour: int, seen: NDArray[np.uint16], tmp_path: Path
) -> None:
    path = write_png(tmp_path / "scan.png", values, colour)
    low, high = int(seen.min()), int(seen.max())
    with Image.open(path) as image:  # or the file would not be what is meant
        assert np.array_equal(
            np.asarray(image)[..., :3] if seen.ndim == 3 else seen, seen >> 8 if seen.ndim == 3 else seen
        )

    picture = read_picture(path, (low, high)).image

    assert np.array_equal(np.asarray(picture), np.round((seen - float(low)) * (255 / (high - low))))
    # A window of 256 neighbouring values shows the low byte as it is.
    fine = read_picture(path, (512, 767)).image
    assert np.array_equal(np.asarray(fine), (seen.astype(int) - 512).clip(0, 255))


ORIENTED = {
    "TIFF": ("L", ".tif", {}),
    "TIFF, compressed": ("L", ".tif", {"compression": "tiff_lzw"}),
    "TIFF of 16 bits": ("I;16", ".tif", {}),
    "JPEG": ("L", ".jpg", {"quality": 100}),
    "PNG": ("L", ".png", {}),
    "PNG of 16 bits": ("I;16", ".png", {}),
    "WebP": ("RGB", ".webp", {"lossless": True}),
}


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize(("mode", "suffix", "options"), ORIENTED.values(), ids=ORIENTED.keys())
def test_read_picture__orientation_P4_D14(
    mode: str, suffix: str, options: dict[str, Any], tag: int, tmp_path: Path
) -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
    expected = {  # what the Exif standard says of the stored row 0 and column 0
        1: grey, 2: grey[:, ::-1], 3: grey[::-1, ::-1], 4: grey[::-1], 5: grey.T,
        6: grey.T[:, ::-1], 7: grey.T[::-1, ::-1], 8: grey.T[::-1],
    }[tag]  # fmt: skip
    values = grey.astype(np.uint16) * 16 if mode == "I;16" else grey
    exif = Image.Exif()
    exif[0x0112] = tag
    image = Image.fromarray(values)
    (image.convert("RGB") if mode == "RGB" else image).save(tmp_path / f"scan{suffix}", exif=exif, **options)

    picture = read_picture(tmp_path / f"scan{suffix}", (0, 4080)).image

    assert picture.mode == "L"
    assert np.abs(np.asarray(picture).astype(int) - expected).max() <= (2 if suffix == ".jpg" else 0)


def test_read_picture__damaged_exif(tmp_path: Path) -> None:
    Image.fromarray(TURNED).save(tmp_path / "scan.jpg", quality=100, exif=b"Exif\0\0no tags at all")

    assert np.abs(np.asarray(read_picture(tmp_path / "scan.jpg").image).astype(int) - TURNED).max() <= 2


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
def test_decode_image__from_memory(suffix: str, tmp_path: Path, draw: Draw) -> None:
    path = draw(tmp_path / f"a{suffix}", mode="RGB")
    content = io.BytesIO(path.read_bytes())

    assert all(np.array_equal(decode_image(content, SIZE), decode_image(path, SIZE)) for _ in range(2))
    assert not content.closed


@pytest.mark.parametrize(("values", "colour"), [(NOISE, 2), (np.dstack([DEEP_VALUES, OPAQUE]), 4)], ids=["RGB", "LA"])
def test_decode_image__png_of_16_bits_from_memory(values: NDArray[np.uint16], colour: int, tmp_path: Path) -> None:
    path = write_png(tmp_path / "a.png", values, colour)

    assert np.array_equal(decode_image(io.BytesIO(path.read_bytes()), SIZE), decode_image(path, SIZE))


def test_decode_image__no_image_in_memory() -> None:
    with pytest.raises(UnreadableError, match=r"^not an image by its content$"):
        decode_image(io.BytesIO(b"no image"), SIZE)
