"""Projector: features and thumbnails of test images, for TensorBoard's tab of that name."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from brain_tumor_tl.files import write_bytes, write_text

COMPONENTS = 50  # principal components that are kept of the features; t-SNE and UMAP need no more
THUMBNAIL = 48  # side in pixels
CONFIG = "projector_config.pbtxt"  # TensorBoard looks for this name
PLACE = "projector"  # the folder of the files that it names
DESCRIPTION = f"""embeddings {{
  tensor_name: "test images"
  tensor_path: "{PLACE}/features.tsv"
  metadata_path: "{PLACE}/images.tsv"
  sprite {{ image_path: "{PLACE}/thumbnails.png" single_image_dim: {THUMBNAIL} single_image_dim: {THUMBNAIL} }}
}}
"""


@contextmanager
def head_inputs(head: nn.Module, every: int) -> Iterator[list[Tensor]]:
    """Collect what a head gets, of every n-th image, while the context lasts.

    Args:
        head: Takes features `(B, D)`.
        every: 1 for all images, 0 for none.

    Yields:
        A list that is filled with features of a batch each, `(b, D)`, on the processor.
    """
    found: list[Tensor] = []
    seen = 0
    if not every:
        yield found
        return

    def keep(_head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal seen
        found.append(inputs[0][-seen % every :: every].detach().float().cpu())
        seen += len(inputs[0])

    handle = head.register_forward_pre_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


def principal_components(features: NDArray[np.float32], most: int = COMPONENTS) -> NDArray[np.float64]:
    """Return the coordinates of features `(N, D)` on their first principal components, `(N, at most "most")`.

    They are computed from the products of all pairs of images, whose number is smaller than that of the features.
    """
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred @ centred.T)  # ascending
    lengths = np.sqrt(np.maximum(variances[::-1][:most], 0))
    scores: NDArray[np.float64] = directions[:, ::-1][:, :most] * lengths
    return scores


def thumbnails(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return images `(N, C, S, S)` as small grey ones, `(N, THUMBNAIL, THUMBNAIL)`."""
    grey = torch.from_numpy(pixels).float().mean(1, keepdim=True)
    small = torch.nn.functional.interpolate(grey, (THUMBNAIL, THUMBNAIL), mode="area")
    return small[:, 0].round().to(torch.uint8).numpy()


def sprite(small: NDArray[np.uint8]) -> bytes:
    """Return thumbnails `(N, S, S)` in rows, as many as columns, as the content of a PNG file."""
    count, size = len(small), small.shape[-1]
    side = math.ceil(math.sqrt(count))
    padded = np.zeros((side * side, size, size), np.uint8)
    padded[:count] = small
    content = io.BytesIO()
    joined = padded.reshape(side, side, size, size).swapaxes(1, 2).reshape(side * size, side * size)
    Image.fromarray(joined).save(content, "PNG")
    return content.getvalue()


def write_projector(
    folder: Path, features: NDArray[np.float32], pixels: NDArray[np.uint8], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write the files of the tab: features as principal components, thumbnails, and a row for each image.

    Args:
        folder: The run's folder.
        features: `(N, D)`.
        pixels: uint8 `(N, C, S, S)`.
        rows: What is known of each image, with the same keys.
    """
    place = folder / PLACE
    place.mkdir(exist_ok=True)
    lines = ["\t".join(f"{value:.4g}" for value in row) for row in principal_components(features)]
    write_text(place / "features.tsv", "\n".join(lines) + "\n")
    cells = [list(rows[0]), *(row.values() for row in rows)]
    table = ["\t".join(str(cell).replace("\t", " ") for cell in line) for line in cells]
    write_text(place / "images.tsv", "\n".join(table) + "\n")
    write_bytes(place / "thumbnails.png", sprite(thumbnails(pixels)))
    write_text(folder / CONFIG, DESCRIPTION)
