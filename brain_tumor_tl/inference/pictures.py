"""Pictures: what a user names as files, folders and lists, or holds in memory, as pictures for a network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from brain_tumor_tl.data.decode import (
    TURNS,
    Pixels,
    Window,
    decode_image,
    eight_bit,
    one_channel_of_grey,
    orientation,
    to_bytes,
)
from brain_tumor_tl.data.index import images_below
from brain_tumor_tl.data.volumes import ALL, pictures_in

InMemory = Image.Image | NDArray[Any] | Tensor
Source = str | Path | IO[bytes] | InMemory  # of one picture


def find_pictures(places: Iterable[Path], slices: str = ALL) -> list[Path]:
    """Return the pictures of files, and of folders at any depth in bytewise order.

    Args:
        places: Files and folders. A file that can't be read is kept: decoding it says why.
        slices: Which pictures of a volume; see `chosen_slices`.

    Raises:
        ValueError: A folder has no images.
    """
    found: list[Path] = []
    for place in places:
        inside = sorted(images_below(place), key=os.fsencode) if place.is_dir() else None
        for file in [place] if inside is None else [place / name for name in inside]:
            pictures = [file]
            with suppress(Exception):  # whatever readers raise; decoding it meets the same, and says why
                pictures = pictures_in(file, slices)
            found += pictures
    return found


def pixels_of(source: Source, size: int, window: Window, own_window: bool) -> Pixels:
    """Return a picture as a network gets it before normalization, uint8 `(C, size, size)`, one channel if it is grey.

    Args:
        source: A path, an open file, or an image in memory: of PIL, an array `(H, W)` or `(H, W, 3)`, or a tensor
            `(H, W)`, `(1, H, W)` or `(3, H, W)`.
        size: Height and width of the result.
        window: The intensities that become 0 and 255 in an image of more than 8 bits.
        own_window: Whether a window that a DICOM file has of its own comes first.

    Raises:
        ValueError: It can't be read, or has another shape.
    """
    if isinstance(source, Image.Image | np.ndarray | Tensor):
        picture = one_channel_of_grey(picture_of(source, window)).resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(one_channel_of_grey(picture))
        return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
    return decode_image(Path(source) if isinstance(source, str) else source, size, window, own_window)


def picture_of(image: InMemory, window: Window = None) -> Image.Image:
    """Return an image in memory with 8 bits, of mode L or RGB, upright.

    Values of other types than uint8 are intensities, as those of a file of more than 8 bits. Fractions from 0 to 1
    become 0 to 255 if no window is given.

    Raises:
        ValueError: It has another shape than an image, or values that are not finite.
    """
    if isinstance(image, Image.Image) and not (image.mode == "F" or image.mode.startswith("I")):
        turn = TURNS.get(orientation(image))
        return eight_bit(image if turn is None else image.transpose(turn))
    values = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    given = values.shape
    if isinstance(image, Tensor) and values.ndim == 3:
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (3,)) or 0 in values.shape:
        kind, shapes = (
            ("a tensor", "(H, W), (1, H, W) or (3, H, W)")
            if isinstance(image, Tensor)
            else ("an array", "(H, W), (H, W, 1) or (H, W, 3)")
        )
        raise ValueError(f"Expected an image as {kind} of shape {shapes}, got {given}.")
    if values.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(values))
    if not np.isfinite(values).all():
        raise ValueError("Expected an image of finite values, got NaN or infinity.")
    if window is None and values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1:
        window = (0.0, 1.0)
    return Image.fromarray(to_bytes(values, window))


def as_list(images: Source | Iterable[Source]) -> list[Source]:
    """Return images as a list, of one if it is a single one; the first axis of a batch is its images.

    >>> [len(as_list(images)) for images in ("a.png", ["a.png", "b.png"], np.zeros((4, 4)), np.zeros((5, 4, 4, 3)))]
    [1, 2, 1, 5]
    """
    single = isinstance(images, str | Path | Image.Image) or hasattr(images, "read")
    if single or (isinstance(images, np.ndarray | Tensor) and images.ndim < 4):
        return [images]  # type: ignore[list-item]  # told apart by hasattr
    if not isinstance(images, Iterable):
        raise ValueError(f"Expected images, each a path, an array, a tensor or of PIL, got {type(images).__name__}.")
    return list(images)


def stacked(pictures: Sequence[Pixels]) -> Tensor:
    """Return decoded pictures as one batch, uint8 `(B, C, H, W)`: of one channel if all are grey, else of three."""
    channels = max(len(pixels) for pixels in pictures)
    same = [np.broadcast_to(pixels, (channels, *pixels.shape[1:])) for pixels in pictures]
    return torch.from_numpy(np.stack(same))
