"""Features: the output of a frozen backbone for all images, computed once and cached for later runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor, nn

from brain_tumor_tl.cache import CacheEntry, digest_of, load_or_build, new_array
from brain_tumor_tl.model.fusion import fuse_norms

Batches = Iterable[tuple[Tensor, Tensor, Tensor]]
# Images in a batch of the pass. On a processor small batches stay in its cache: MobileNetV2 in bf16 on 2 cores did 112
# images/s in batches of 16, 90 in 32, 84 in 64 (2026-11-23). A GPU wants large ones.
CPU_CHUNK, GPU_CHUNK = 16, 256


def features_key(
    images: str, normalize: str, model: Mapping[str, Any], weights: str, compute: Mapping[str, Any]
) -> str:
    """Return the digest of all that the features of a data set depend on.

    Args:
        images: Name of the cache entry of the decoded images.
        normalize: Name of the normalisation.
        model: `name` and `options` of the network.
        weights: Digest of the backbone's weights.
        compute: `precision`, `channels_last`, `accelerator`, and `fuses_norms`.
    """
    return digest_of(
        images, normalize, model["name"], model["options"], weights, compute["precision"], compute["channels_last"],
        compute["accelerator"], torch.__version__, torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(), *(["fused 1"] if compute["fuses_norms"] else []),
    )  # fmt: skip


def load_features(
    backbone: nn.Module,
    batches: Batches,
    shape: tuple[int, int],
    *,
    key: str,
    cache_dir: Path,
    precision: AbstractContextManager[Any],
    fuse: bool = False,
) -> CacheEntry:
    """Compute the features of all images, or open them from the cache.

    Args:
        backbone: On its device; it is put in eval mode.
        batches: `(images, labels, positions)` over the whole data set, images as the backbone takes them.
        shape: Number of images, and features of an image.
        key: As `features_key` returns it.
        cache_dir: The cache's folder.
        precision: The context that the backbone computes in, such as autocast.
        fuse: Whether to fuse batch normalisation into convolutions: faster, and equal up to float32's rounding.

    Returns:
        float32 `(N, D)`.
    """

    def build(path: Path) -> dict[str, Any]:
        features = new_array(path, np.float32, shape)
        with precision:
            compute_into(features, backbone, track(batches, "Computing features", transient=True), fuse)
        features.flush()
        return {}

    return load_or_build(cache_dir, "features", key, build)


def compute_into(features: NDArray[np.float32], backbone: nn.Module, batches: Batches, fuse: bool = False) -> None:
    """Write each image's features to its row.

    Args:
        features: float32 `(N, D)`, written in place.
        backbone: It is put in eval mode.
        batches: `(images, labels, positions)`; every position exactly once.
        fuse: Whether to fuse batch normalisation into convolutions.

    Raises:
        RuntimeError: A position is missing or came twice.
    """
    seen = np.zeros(len(features), dtype=np.int64)
    network = fuse_norms(backbone.eval()) if fuse else backbone.eval()
    with torch.inference_mode():
        for images, _, positions in batches:
            rows = positions.cpu().numpy()
            features[rows] = network(images).float().cpu().numpy()
            seen[rows] += 1
    if not (seen == 1).all():
        raise RuntimeError(f"Expected each of {len(seen)} images once, {int((seen != 1).sum())} came otherwise.")
