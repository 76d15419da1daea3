"""Decode: one image -> one upright picture of 8 bits. Headers are read first: Pillow's mode hides what they say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError, features
from PIL import __version__ as pillow_version

from brain_tumor_tl.data.formats import FORMATS, Source, UnreadableError, format_of, opened, reason_against
from brain_tumor_tl.data.rows import by_rows
from brain_tumor_tl.data.volumes import limits_of, picture_values, reader_versions, split_name

# All that the pixels of a file that Pillow reads depend on. Raise the number when the pixels change.
DECODER = (2, pillow_version, features.version("libjpeg_turbo"), features.version("jpg"), features.version("webp"))

PLANES = "a TIFF whose colours are in separate planes (tag 284), which Pillow can't read reliably; save it as PNG"
DEEP = "a TIFF in colour of more than 8 bits (tag 258), of which Pillow keeps 8; save it as PNG of 16 bits, or in grey"
DEEP_PNG = ("RGB;16B", "RGBA;16B", "LA;16B")  # how Pillow reads PNG of 16 bits, except grey: one byte of each sample
TURNS = {  # by the Exif tag Orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip

Pixels = NDArray[np.uint8]
Values = NDArray[Any]
Window = Sequence[float] | None  # the intensities that become 0 and 255; None: each file's least and greatest


class Picture(NamedTuple):
    """A decoded file: a picture of mode L if it is grey, else RGB, and its mode and format by Pillow's names."""

    image: Image.Image
    mode: str
    format: str


def decode_image(source: Source, size: int, window: Window = None, own_window: bool = True) -> Pixels:
    """Decode one image and resize it, antialiased, regardless of its aspect ratio.

    Args:
        source: Path of an image, such as `a.jpg`, `scan.dcm` or `scan.nii.gz#012`, or an open file with a single one.
        size: Height and width in pixels of the result.
        window: The intensities that become 0 and 255 in an image of more than 8 bits.
        own_window: Whether a window that a DICOM file has of its own comes first.

    Returns:
        uint8 `(1, size, size)` if the image is grey, else `(3, size, size)`.

    Raises:
        UnreadableError: The file is of a kind that is not read, or that would be read wrong.
    """
    picture = read_picture(source, window, own_window).image
    # Again, as in `read_picture`: resizing may lose the last colour.
    pixels = np.asarray(one_channel_of_grey(picture.resize((size, size), Image.Resampling.BILINEAR)))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def read_picture(source: Source, window: Window = None, own_window: bool = True) -> Picture:
    """Decode one image at its own size, turned as its Orientation tag says.

    Args:
        source: Path of an image, such as `a.jpg`, `scan.dcm` or `scan.nii.gz#012`, or an open file with a single one.
        window: The intensities that become 0 and 255 in an image of more than 8 bits.
        own_window: Whether a window that a DICOM file has of its own comes first.

    Raises:
        UnreadableError: The file is of a kind that is not read, or that would be read wrong.
    """
    file, number = split_name(source) if isinstance(source, Path) else (source, None)
    if kind := format_of(file):
        read = picture_values(file, kind, number, own_window)
        if window is None and number is not None and isinstance(file, Path):  # one scale for all pictures of a file
            window = limits_of(file, kind)
        return picture_of(read, window, kind)
    with open_image(source) as image:
        mode, values = image.mode, deep_values(image, source)
        image.load()
        picture = eight_bit(image) if values is None else Image.fromarray(to_bytes(values, window))
        turn = TURNS.get(orientation(image))
    picture = one_channel_of_grey(picture)  # here, since one channel is resized faster than three
    return Picture(picture if turn is None else picture.transpose(turn), mode, image.format or "")


def picture_of(values: Values, window: Window, kind: str) -> Picture:
    """Return values that `picture_values` read as a picture; those of 8 bits are taken as they are."""
    deep = values.dtype != np.uint8
    image = Image.fromarray(to_bytes(values, window) if deep else values)
    return Picture(one_channel_of_grey(image), str(values.dtype) if deep else image.mode, kind)


def decoder_of(paths: Iterable[str], own_window: bool) -> tuple[Any, ...]:
    """Return all that the pixels of the images of an index depend on beside their files, for keys of caches."""
    versions = reader_versions(paths)
    return (*DECODER, own_window, *versions) if versions else DECODER


@contextmanager
def open_image(source: Source) -> Iterator[Image.Image]:
    """Open an image whose header says nothing that would be read wrong.

    Raises:
        UnreadableError: It does, or the file is no image.
    """
    # Not by its path: Pillow 13.0 then maps uncompressed TIFF to memory, and scrambles it if Orientation is 5 to 8.
    with opened(source) as file:
        try:
            image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise UnreadableError(reason_against(source)) from error
        count = getattr(image, "n_frames", 1)
        if count > 1 and image.format != "MPO":  # a camera's JPEG, with further renderings of its first picture
            raise UnreadableError(f"{count} pages or frames in one file; save each image as its own file")
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            check_tiff(image)
        yield image


def check_tiff(image: TiffImagePlugin.TiffImageFile) -> None:
    """Raise an UnreadableError for a TIFF file that Pillow opens but reads wrong."""
    tags = image.tag_v2
    if tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1) == 1:
        return
    if max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8:
        raise UnreadableError(DEEP)
    if tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2:
        raise UnreadableError(PLANES)


def orientation(image: Image.Image) -> int:
    """Return the Orientation tag of an image, 1 if it has none; of TIFF too, which Pillow turns itself."""
    if image.format == "TIFF":
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (SyntaxError, TypeError, ValueError):
        return 1  # a damaged Exif block says nothing


def deep_values(image: Image.Image, source: Source) -> Values | None:
    """Return the intensities of an image of more than 8 bits, `(H, W)` or `(H, W, 3)`; None for one of 8 bits.

    Args:
        image: As `open_image` yields it.
        source: Its file.

    Raises:
        ValueError: A value is not finite.
    """
    if isinstance(image, PngImagePlugin.PngImageFile) and (raw_mode := str(image.tile[0].args)) in DEEP_PNG:
        return samples_of_16_bits(source, raw_mode)
    tags = getattr(image, "tag_v2", {})
    bits, kind = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0], tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0]
    signed_bytes = kind == 2 and bits == 8
    if not (image.mode == "F" or image.mode.startswith("I") or signed_bytes):
        return None
    values: Values = np.asarray(image)
    if signed_bytes or (bits == 32 and kind == 1):  # Pillow has neither
        values = values.view(np.int8 if signed_bytes else np.uint32)
    if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero; Pillow inverts 8 bits alone
        values = {1: 2.0**bits - 1, 2: -1.0, 3: 1.0}[kind] - values
    if not np.isfinite(values).all():
        raise ValueError("holds values that are not finite numbers")
    return values


def samples_of_16_bits(source: Source, raw_mode: str) -> Values:
    """Return the samples of a 16-bit PNG file without its transparency, `(H, W)` if it is grey, else `(H, W, 3)`.

    Pillow keeps one byte of each sample: the first or, in the raw mode for little-endian, the second.

    Args:
        source: The file.
        raw_mode: How Pillow would read it: "RGB;16B", "RGBA;16B" or "LA;16B".
    """
    if raw_mode == "LA;16B":  # has no other byte order, but the four bytes of a pixel can be read as they are
        four = read_raw(source, "RGBA").astype(np.uint16)
        return four[..., 0] << 8 | four[..., 1]
    values = read_raw(source, raw_mode).astype(np.uint16) << 8 | read_raw(source, f"{raw_mode[:-1]}L")
    grey = bool((values[..., :1] == values[..., 1:3]).all())
    return values[..., 0] if grey else values[..., :3]


def read_raw(source: Source, raw_mode: str) -> Pixels:
    """Return the bytes that Pillow takes from a file of one block in a raw mode."""
    with opened(source) as file, PngImagePlugin.PngImageFile(file) as image:
        image.tile = [image.tile[0]._replace(args=raw_mode)]
        return np.asarray(image)


def one_channel_of_grey(image: Image.Image) -> Image.Image:
    """Return one channel of an image whose three channels are equal, any other image unchanged.

    Args:
        image: Of mode L or RGB.

    >>> one_channel_of_grey(Image.new("RGB", (2, 2), (7, 7, 7))).mode
    'L'
    >>> one_channel_of_grey(Image.new("RGB", (2, 2), (7, 7, 8))).mode
    'RGB'
    """
    if image.mode == "L":
        return image
    first, second, third = image.split()
    return first if first.tobytes() == second.tobytes() == third.tobytes() else image


def eight_bit(image: Image.Image) -> Image.Image:
    """Return an image of a mode of 8 bits a channel as L or RGB; transparency is dropped."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA"):
        return image.convert("L")
    if image.mode == "La":  # grey with premultiplied transparency, only in TIFF
        return image.convert("LA").convert("L")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def to_bytes(values: Values, window: Window = None) -> Pixels:
    """Scale intensities to 0..255.

    Args:
        values: Intensities.
        window: What becomes 0 and 255; values outside are clipped. None: the least and the greatest value.

    >>> to_bytes(np.array([[0, 2048, 4095]]), (0, 4095)).tolist()
    [[0, 128, 255]]
    """
    low, high = (float(values.min()), float(values.max())) if window is None else window
    factor = 255 / max(high - low, 1e-12)
    return by_rows(
        lambda rows: np.round(((rows.astype(np.float64) - low) * factor).clip(0, 255)).astype(np.uint8), values
    )
