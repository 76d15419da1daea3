"""Images: every file decoded and resized once, into one uint8 array that later runs open from the cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.cache import CacheEntry, Mapped, digest_of, load_or_build, new_array
from brain_tumor_tl.data.decode import Pixels, Window, decode_image, decoder_of
from brain_tumor_tl.data.index import BadFilesError, Index
from brain_tumor_tl.data.intensity import Intensity, find_intensity, uses_own_window
from brain_tumor_tl.data.reader import read_each
from brain_tumor_tl.files import replacing


def load_images(
    index: Index,
    size: int,
    cache_dir: Path,
    on_bad_file: str = "error",
    intensity: str | Intensity = "auto",
    every_class: bool = True,
) -> tuple[CacheEntry, Index]:
    """Decode all images of an index, or open them from the cache.

    Args:
        index: The files.
        size: Height and width in pixels to resize to.
        cache_dir: Folder of the decoded images.
        on_bad_file: "error", or "skip" to leave out bad files.
        intensity: The rule for images of more than 8 bits, see `find_intensity`; or what it found in another data set,
            to decode these images as those.
        every_class: Whether each class must have images.

    Returns:
        The N images that can be used, uint8 `(N, C, size, size)` with C = 1 if every image is grey, else 3, with
        `intensity` and `bad` as notes; and their index.

    Raises:
        BadFilesError: Files can't be used and `on_bad_file` is "error"; it names them all.
        ValueError: A class would have no images without its bad files.
    """
    known = None if isinstance(intensity, str) else intensity
    rule = intensity if isinstance(intensity, str) else intensity["rule"]
    own_window = uses_own_window(rule)
    scale = ["window", known["window"]] if known else rule
    key = digest_of("images", decoder_of(index.paths, own_window), size, scale, index.digests)

    def without(bad: Sequence[tuple[int, str]]) -> Index:
        usable = index.without([(index.paths[i], reason) for i, reason in bad])
        if usable.bad and on_bad_file == "error":
            raise BadFilesError(index.root, usable.bad)
        return usable

    def build(path: Path) -> dict[str, Any]:
        found = known or find_intensity(index, rule)
        bad = decode_all(index, size, path, found["window"], own_window)
        without(bad)  # an entry is kept only if it can be used
        return {"bad": bad, "intensity": found}

    entry = load_or_build(cache_dir, "images", key, build)
    usable = without(entry.about["bad"])
    check_no_class_is_lost(index, usable)
    return entry, usable


def check_no_class_is_lost(index: Index, usable: Index) -> None:
    """Raise a ValueError if a class of an index has no images among the usable ones."""
    without_any = index.missing_classes() if len(usable) else []  # they get images by a table, or another set has none
    if lost := [name for name in usable.missing_classes() if name not in without_any]:
        raise ValueError(
            f"Expected usable images in each class of {index.root}, found none of {', '.join(lost)} once "
            f"{len(usable.bad)} bad file(s) were left out. Add images, or list only the classes that you have in "
            "data.classes."
        )


def decode_all(index: Index, size: int, path: Path, window: Window, own_window: bool) -> list[tuple[int, str]]:
    """Decode every image, in parallel, into a .npy file; return position and reason of each bad one."""
    pixels = new_array(path, np.uint8, (len(index), 1, size, size))
    kept = 0

    def keep(image: Pixels) -> None:
        nonlocal pixels, kept
        if len(image) > pixels.shape[1]:
            pixels = copied(pixels, kept, path, (len(index), len(image), size, size))
        pixels[kept] = image
        kept += 1

    def decode(image: Path) -> Pixels:
        return decode_image(image, size, window, own_window)

    bad = read_each(decode, index, f"Decoding {len(index)} images", keep)
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
