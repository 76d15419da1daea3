"""Features: a frozen backbone over all images, once, kept on disk for every later run with the same key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from brain_tumor_tl.cache import CacheEntry, load_or_build, new_array
from brain_tumor_tl.model.fusion import fuse_norms

Chunks = Callable[[], Iterable[tuple[Tensor, Tensor]]]


def load_features(
    backbone: nn.Module,
    chunks: Chunks,
    count: int,
    width: int,
    *,
    key: str,
    cache_dir: Path,
    precision: AbstractContextManager[Any],
    total: int | None = None,
    fuse: bool = False,
) -> CacheEntry:
    """Compute the features of all images, or open them from the cache.

    Args:
        backbone: On its device; it is held in eval mode meanwhile.
        chunks: Gives `(positions, images)` over the whole data set, images ready for the backbone.
        count: Number of images.
        width: Features of an image.
        key: Digest of all that the features depend on: pixels, normalisation, weights, precision.
        cache_dir: Where features are kept.
        precision: The context that the run computes in, such as autocast.
        total: Number of chunks, for the progress bar.
        fuse: Whether to work batch normalisation into convolutions: faster, and the same to float32's rounding.

    Returns:
        float32 `(count, width)`.
    """

    def build(path: Path) -> dict[str, Any]:
        features = new_array(path, np.float32, (count, width))
        with precision:
            compute_into(features, backbone, track(chunks(), "Computing features", total=total, transient=True), fuse)
        features.flush()
        return {}

    return load_or_build(cache_dir, "features", key, build)


def compute_into(
    features: Any, backbone: nn.Module, chunks: Iterable[tuple[Tensor, Tensor]], fuse: bool = False
) -> None:
    """Write each image's features to its row.

    Args:
        features: float32 `(N, D)`, written in place.
        backbone: Its training mode is restored.
        chunks: `(positions, images)`; every position exactly once.
        fuse: Whether to work batch normalisation into convolutions.

    Raises:
        RuntimeError: A position was missed or came twice.
    """
    seen = np.zeros(len(features), dtype=np.int64)
    training = backbone.training
    backbone.eval()
    network = fuse_norms(backbone) if fuse else backbone
    with torch.inference_mode():
        for positions, images in chunks:
            rows = positions.numpy()
            features[rows] = network(images).float().cpu().numpy()
            seen[rows] += 1
    backbone.train(training)
    if not (seen == 1).all():
        raise RuntimeError(f"Expected each of {len(seen)} images once, {int((seen != 1).sum())} came otherwise.")
