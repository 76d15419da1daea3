"""Images: every file decoded and resized once, into one uint8 array that later runs open from the cache."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.progress import track

from brain_tumor_tl.cache import CacheEntry, Mapped, digest_of, load_or_build, new_array
from brain_tumor_tl.data.index import BadFilesError, Index
from brain_tumor_tl.files import replacing

DECODER_VERSION = 1  # part of the cache's key: raise it when the decoded pixels change
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")  # no others: Pillow passes PostScript to Ghostscript
CHUNK = 8  # files that a thread takes at a time, since a task for each file takes longer

Pixels = NDArray[np.uint8]
Result = TypeVar("Result")


def load_images(index: Index, size: int, cache_dir: Path, on_bad_file: str = "error") -> tuple[CacheEntry, Index]:
    """Decode all images of an index, or open them from the cache.

    Args:
        index: The files.
        size: Height and width in pixels to resize to.
        cache_dir: Folder of the decoded images.
        on_bad_file: "error", or "skip" to leave out bad files.

    Returns:
        The N images that can be used, uint8 `(N, C, size, size)` with C = 1 if every image is grey, else 3; and their
        index.

    Raises:
        BadFilesError: Files can't be used and `on_bad_file` is "error"; it names them all.
        ValueError: A class would have no images without its bad files.
    """
    key = digest_of("images", DECODER_VERSION, size, index.digests)

    def without(bad: Sequence[tuple[int, str]]) -> Index:
        usable = index.without([(index.paths[i], reason) for i, reason in bad])
        if usable.bad and on_bad_file == "error":
            raise BadFilesError(index.root, usable.bad)
        return usable

    def build(path: Path) -> dict[str, Any]:
        bad = decode_all(index, size, path)
        without(bad)  # an entry is kept only if it can be used
        return {"bad": bad}

    entry = load_or_build(cache_dir, "images", key, build)
    usable = without(entry.about["bad"])
    if missing := usable.missing_classes():
        raise ValueError(
            f"Expected usable images in each class of {index.root}, found none of {', '.join(missing)} once "
            f"{len(usable.bad)} bad file(s) were left out. Add images, or list only the classes that you have in "
            "data.classes."
        )
    return entry, usable


def decode_all(index: Index, size: int, path: Path) -> list[tuple[int, str]]:
    """Decode every image, in parallel, into a .npy file; return position and reason of each bad one."""
    pixels = new_array(path, np.uint8, (len(index), 1, size, size))
    kept = 0

    def keep(image: Pixels) -> None:
        nonlocal pixels, kept
        if len(image) > pixels.shape[1]:
            pixels = copied(pixels, kept, path, (len(index), len(image), size, size))
        pixels[kept] = image
        kept += 1

    bad = read_each(lambda path: decode_image(path, size), index, f"Decoding {len(index)} images", keep)
    pixels.flush()
    if bad:
        copied(pixels, kept, path, (kept, *pixels.shape[1:])).flush()
    return bad


def copied(pixels: Mapped, kept: int, path: Path, shape: tuple[int, ...]) -> Mapped:
    """Return an array of another shape with the first `kept` images of `pixels`, in place of the file at `path`."""
    with replacing(path) as temporary:
        copy = new_array(temporary, np.uint8, shape)
        copy[:kept] = pixels[:kept]
    return copy


def read_each(
    read: Callable[[Path], Result], index: Index, label: str, keep: Callable[[Result], None]
) -> list[tuple[int, str]]:
    """Read every file of an index in parallel; return position and reason of each that can't be read.

    Args:
        read: Reads one file, in any thread; any exception means that the file can't be read.
        index: The files.
        label: Text of the progress bar.
        keep: Called with each result, in the order of the index.
    """

    def read_chunk(start: int) -> list[Result | str]:
        return [result_or_reason(read, index.root / path) for path in index.paths[start : start + CHUNK]]

    bad, starts = [], range(0, len(index), CHUNK)
    pool = ThreadPoolExecutor()
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            chunks = computed_ahead(pool, read_chunk, starts)
            for start, results in zip(starts, track(chunks, label, len(starts), transient=True), strict=True):
                for position, result in enumerate(results, start):
                    if isinstance(result, str):
                        bad.append((position, result))
                    else:
                        keep(result)
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt must not wait for results that nobody will read
    return bad


def computed_ahead(pool: Executor, compute: Callable[[int], Result], inputs: Iterable[int]) -> Iterator[Result]:
    """Yield the result for each input, in order; at most 8 results per processor wait in memory."""
    most = 8 * (os.cpu_count() or 1)
    waiting: deque[Future[Result]] = deque()
    for each in inputs:
        waiting.append(pool.submit(compute, each))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def result_or_reason(read: Callable[[Path], Result], path: Path) -> Result | str:
    """Return what `read` returns for a file, or in one line why the file can't be read."""
    try:
        return read(path)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"a decompression bomb, more than {Image.MAX_IMAGE_PIXELS} pixels"
    except UnidentifiedImageError:
        return "not an image by its content"
    except Exception as error:  # decoders raise nearly anything on broken bytes; one file must not end the run
        return f"can't be decoded, truncated or damaged: {error}"


def decode_image(path: Path, size: int) -> Pixels:
    """Decode one file and resize it, antialiased, regardless of its aspect ratio.

    Args:
        path: A file that Pillow reads.
        size: Height and width in pixels of the result.

    Returns:
        uint8 `(1, size, size)` if the image is grey, else `(3, size, size)`.
    """
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        picture = one_channel_of_grey(eight_bit(image))
    # Before: one channel is resized faster than three. After: resizing may lose the last colour.
    pixels = np.asarray(one_channel_of_grey(picture.resize((size, size), Image.Resampling.BILINEAR)))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


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
    """Return an image of any mode as L or RGB with 8 bits a channel; transparency is dropped."""
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA"):
        return image.convert("L")
    if image.mode == "La":  # grey with premultiplied transparency, only in TIFF
        return image.convert("LA").convert("L")
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(to_bytes(np.asarray(image, dtype=np.float64)))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def to_bytes(values: NDArray[np.float64]) -> Pixels:
    """Scale intensities of more than 8 bits to 0..255.

    Values that are 8-bit already are kept, fractions between 0 and 1 are multiplied by 255, and all others are
    stretched from their minimum to their maximum, as viewers do with 16-bit slices.

    Args:
        values: Intensities, `(H, W)`.

    Raises:
        ValueError: A value is not finite.

    >>> to_bytes(np.array([[0.0, 4095.0]])).tolist()
    [[0, 255]]
    """
    if not np.isfinite(values).all():
        raise ValueError("holds values that are not finite numbers")
    least, greatest = float(values.min()), float(values.max())
    whole = bool((values == np.round(values)).all())
    if least >= 0 and greatest <= 255 and whole:
        return values.astype(np.uint8)
    if least >= 0 and greatest <= 1:
        return np.round(values * 255).astype(np.uint8)
    return np.round((values - least) * (255 / max(greatest - least, 1e-12))).astype(np.uint8)
