"""Images: every file decoded and resized once, into one uint8 array that later runs open from disk."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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

DECODER_VERSION = 1  # part of the cache's key: raise it when the pixels that come out change
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")  # and no more: Pillow hands PostScript to Ghostscript
CHUNK = 8  # files that a thread takes at a time, for handing over each by itself takes longer

Pixels = NDArray[np.uint8]
Result = TypeVar("Result")


def load_images(index: Index, size: int, cache_dir: Path, on_bad_file: str = "error") -> tuple[CacheEntry, Index]:
    """Decode all images of an index, or open them from the cache.

    Args:
        index: The files.
        size: Height and width in pixels to resize to.
        cache_dir: Where decoded images are kept.
        on_bad_file: "error", or "skip" to leave bad files out.

    Returns:
        The images, uint8 `(N, C, size, size)` with C = 1 where every image is grey and 3 else, and the index
        of those that could be used, N of them.

    Raises:
        BadFilesError: Files can't be used and `on_bad_file` is "error"; it names them all.
        ValueError: Leaving bad files out would leave a class without images.
    """
    key = digest_of("images", DECODER_VERSION, size, index.digests)

    def build(path: Path) -> dict[str, Any]:
        bad = decode_all(index, size, path)
        if on_bad_file == "error" and (bad or index.bad):
            raise BadFilesError(index.root, [*index.bad, *((index.paths[i], why) for i, why in bad)])
        return {"bad": bad}

    stored = load_or_build(cache_dir, "images", key, build)
    usable = index.without([(index.paths[i], reason) for i, reason in stored.about["bad"]])
    if usable.bad and on_bad_file == "error":
        raise BadFilesError(index.root, usable.bad)
    refuse_lost_classes(usable)
    return stored, usable


def refuse_lost_classes(index: Index) -> None:
    """Raise a ValueError where a class has no image that can be used."""
    counts = np.bincount(index.labels, minlength=len(index.classes))
    lost = [name for name, count in zip(index.classes, counts, strict=True) if count == 0]
    if lost:
        raise ValueError(
            f"Expected images that can be used in each class of {index.root}, found none of "
            f"{', '.join(lost)} once {len(index.bad)} bad file(s) were left out. Add images, or list only "
            "the classes that you have in data.classes."
        )


def decode_all(index: Index, size: int, path: Path) -> list[tuple[int, str]]:
    """Decode every image, in parallel, into a .npy file; return position and reason of each bad one."""
    bad: list[tuple[int, str]] = []
    pixels = new_array(path, np.uint8, (len(index), 1, size, size))
    kept = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for position, image in enumerate(decoded(index, size)):
            if isinstance(image, str):
                bad.append((position, image))
                continue
            if len(image) > pixels.shape[1]:
                pixels = widened(pixels, kept, path)
            pixels[kept] = image
            kept += 1
    pixels.flush()
    if bad:
        shortened(pixels, kept, path)
    return bad


def decoded(index: Index, size: int) -> Iterator[Pixels | str]:
    """Yield each image's pixels, or why it has none, in the index's order, while threads decode ahead."""
    paths = [index.root / path for path in index.paths]
    return in_threads(lambda path: decode_or_reason(path, size), paths, f"Decoding {len(paths)} images")


def in_threads(read: Callable[[Path], Result], paths: Sequence[Path], label: str) -> Iterator[Result]:
    """Yield what `read` returns of each file, in order, while threads read ahead.

    Args:
        read: Called in any thread.
        paths: The files.
        label: What the progress bar says.
    """
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with ThreadPoolExecutor() as pool:
        ready = chunks_ahead(pool, lambda chunk: [read(path) for path in chunk], chunks)
        for chunk in track(ready, label, total=len(chunks), transient=True):
            yield from chunk


def chunks_ahead(
    pool: Executor, read: Callable[[Sequence[Path]], Result], chunks: Sequence[Sequence[Path]]
) -> Iterator[Result]:
    """Yield what `read` returns of each chunk, in order; at most 8 a processor wait in memory."""
    most = 8 * (os.cpu_count() or 1)
    waiting: deque[Future[Result]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(read, chunk))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # an interrupt must not wait for what nobody will read
        for future in waiting:
            future.cancel()


def widened(pixels: Mapped, kept: int, path: Path) -> Mapped:
    """Return a file of three channels in place of one of one channel, with its first `kept` images."""
    count, _, height, width = pixels.shape
    with replacing(path) as wide:
        colour = new_array(wide, np.uint8, (count, 3, height, width))
        colour[:kept] = pixels[:kept]
    return colour


def shortened(pixels: Pixels, kept: int, path: Path) -> None:
    """Write the first `kept` images of `pixels` to `path` in place of all."""
    with replacing(path) as short, short.open("wb") as file:
        np.save(file, pixels[:kept])


def decode_or_reason(path: Path, size: int) -> Pixels | str:
    """Return an image's pixels, or in one line why it has none."""
    try:
        return decode_image(path, size)
    except Exception as error:  # decoders raise nearly anything on broken bytes; one must not end the run
        return unreadable(error)


def unreadable(error: Exception) -> str:
    """Return in one line why a file that raised this has no pixels."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"a decompression bomb, more than {Image.MAX_IMAGE_PIXELS} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "not an image by its content"
    return f"can't be decoded, truncated or damaged: {error}"


def decode_image(path: Path, size: int) -> Pixels:
    """Decode one file and resize it, antialiased, regardless of its aspect ratio.

    Args:
        path: A file that Pillow reads.
        size: Height and width in pixels of the result.

    Returns:
        uint8 `(1, size, size)` where the image is grey, `(3, size, size)` else.
    """
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        picture = one_channel_of_grey(eight_bit(image))
    # Grey before, for one channel is resized sooner than three; grey after, for resizing may lose the last colour.
    pixels = np.asarray(one_channel_of_grey(picture.resize((size, size), Image.Resampling.BILINEAR)))
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def one_channel_of_grey(image: Image.Image) -> Image.Image:
    """Return an image of three equal channels as one of them, any other as it is.

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
    if image.mode == "La":  # grey with premultiplied transparency, in TIFF alone
        return image.convert("LA").convert("L")
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(to_bytes(np.asarray(image, dtype=np.float64)))
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def to_bytes(values: NDArray[np.float64]) -> Pixels:
    """Scale intensities of more than 8 bits to 0..255.

    Values that are 8-bit already are kept, fractions between 0 and 1 are multiplied by 255, and all else is
    stretched from its own least to its own greatest value, as viewers do with 16-bit slices.

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
