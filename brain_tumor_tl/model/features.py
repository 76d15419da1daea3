"""Features: the output of a network's frozen part for all images, computed once and cached for later runs.

The frozen part is a whole backbone, whose output are features, or what lies before a cut, whose output are maps.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from brain_tumor_tl.cache import CacheEntry, digest_of, load_or_build, new_array
from brain_tumor_tl.model.fusion import fuse_norms

Batches = Iterable[tuple[Tensor, Tensor, Tensor]]
# Images in a batch of the pass. On a processor small batches stay in its cache: MobileNetV2 in bf16 on 2 cores did 112
# images/s in batches of 16, 90 in 32, 84 in 64 (2026-11-23). A GPU wants large ones.
CPU_CHUNK, GPU_CHUNK = 16, 256


def features_key(
    images: str,
    normalize: str,
    model: Mapping[str, Any],
    weights: str,
    compute: Mapping[str, Any],
    place: str | None = None,
    view: tuple[int, Mapping[str, float]] | None = None,
) -> str:
    """Return the digest of all that the features of a data set depend on.

    Args:
        images: Name of the cache entry of the decoded images.
        normalize: Name of the normalisation.
        model: `name` and `options` of the network.
        weights: Digest of the backbone's weights.
        compute: `precision`, `channels_last`, `accelerator`, and `fuses_norms`.
        place: The first module that learns; None for a frozen backbone.
        view: Number and augmentation of a variant of the images; None for the images as they are.
    """
    return digest_of(
        images, normalize, model["name"], model["options"], weights, compute["precision"], compute["channels_last"],
        compute["accelerator"], torch.__version__, torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(), *(["fused 1"] if compute["fuses_norms"] else []),
        *([f"before {place}"] if place else []), *([f"view {view[0]}", dict(view[1])] if view else []),
    )  # fmt: skip


def load_features(
    network: nn.Module,
    batches: Batches,
    count: int,
    *,
    key: str,
    cache_dir: Path,
    precision: AbstractContextManager[Any],
    fuse: bool = False,
) -> CacheEntry:
    """Compute the features of all images, or open them from the cache.

    Args:
        network: The frozen part, on its device; it is put in eval mode.
        batches: `(images, labels, positions)` over the whole data set, images as the network takes them.
        count: Number of images.
        key: As `features_key` returns it.
        cache_dir: The cache's folder.
        precision: The context that the network computes in, such as autocast.
        fuse: Whether to fuse batch normalisation into convolutions: faster, and equal up to float32's rounding.

    Returns:
        float32 `(N, D)`, or maps `(N, ...)` as `as_stored` returns them.

    Raises:
        OSError: There is no room for them.
    """

    def build(path: Path) -> dict[str, Any]:
        with precision:
            compute_into(path, fuse_norms(network.eval()) if fuse else network.eval(), batches, count)
        return {}

    return load_or_build(cache_dir, "features", key, build)


def compute_into(path: Path, network: Callable[[Tensor], Tensor], batches: Batches, count: int) -> None:
    """Write each image's features to its row of a new .npy file.

    Args:
        path: The file.
        network: In eval mode.
        batches: `(images, labels, positions)`; every position exactly once.
        count: Number of images.

    Raises:
        OSError: There is no room for the file; known after the first batch.
        RuntimeError: A position is missing or came twice.
    """
    features: NDArray[Any] | None = None
    seen = np.zeros(count, dtype=np.int64)
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with torch.inference_mode(), Progress(*columns, transient=True) as bar:
        for images, _, positions in bar.track(batches, description="Computing features"):
            rows, values = positions.cpu().numpy(), as_stored(network(images))
            if features is None:
                features = reserve(path, values, count)
            features[rows] = values
            seen[rows] += 1
    if not (seen == 1).all():
        raise RuntimeError(f"Expected each of {len(seen)} images once, {int((seen != 1).sum())} came otherwise.")


def reserve(path: Path, values: NDArray[Any], count: int) -> NDArray[Any]:
    """Return a new .npy file for the features of all images, memory-mapped.

    Args:
        path: The file.
        values: Those of some images, `(B, ...)`.
        count: Number of images.

    Raises:
        OSError: There is not enough space.
    """
    size, free = values[:1].nbytes * count, shutil.disk_usage(path.parent).free
    if size > free:
        raise OSError(
            errno.ENOSPC,
            f"{size / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free. A later method.train_from needs less, "
            "method.cache_features=false needs none",
        )
    return new_array(path, values.dtype, (count, *values.shape[1:]))


def as_stored(output: Tensor) -> NDArray[Any]:
    """Return the output of a frozen part as it is stored: features `(B, D)` as float32, maps in their own type.

    NumPy has no bfloat16; its bits are stored as int16.
    """
    if output.ndim == 2:
        return output.float().cpu().numpy()
    whole = output.contiguous().cpu()
    stored: NDArray[Any] = (whole.view(torch.int16) if whole.dtype == torch.bfloat16 else whole).numpy()
    return stored


def from_stored(values: Tensor, channels_last: bool = False) -> Tensor:
    """Return stored features or maps as the part of the network that learns takes them."""
    whole = values.view(torch.bfloat16) if values.dtype == torch.int16 else values
    return whole.contiguous(memory_format=torch.channels_last) if channels_last and whole.ndim == 4 else whole
