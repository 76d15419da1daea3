"""Kept: the output of a run's frozen part for every image, computed once, in place of the images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from brain_tumor_tl.cache import CacheEntry
from brain_tumor_tl.console import log
from brain_tumor_tl.model.features import CPU_CHUNK, GPU_CHUNK, features_key, from_stored, load_features
from brain_tumor_tl.run import hardware

if TYPE_CHECKING:
    from brain_tumor_tl.run.training_run import TrainingRun


@dataclass(frozen=True)
class Kept:
    """What the frozen part returned, for all images.

    Attributes:
        views: `(N, ...)` as stored, for the images as they are, then for each augmented variant of them.
        prepare: Takes a batch of them to what the part that learns takes; None for features, which are that already.
        about: `features` of `results.json`.
    """

    views: tuple[Tensor, ...]
    prepare: Callable[[Tensor], Tensor] | None
    about: dict[str, Any]


def keep(run: TrainingRun) -> Kept:
    """Compute the output of a run's frozen part for all images, or open it from the cache."""
    started = time.perf_counter()
    run.model.backbone.to(run.device)
    network, place = run.freezing.kept_part(), run.freezing.kept_before
    found = [load_view(run, network, place, number) for number in range(run.settings["method"]["views"])]
    views = tuple(torch.from_numpy(entry.array) for entry in found)
    computed, seconds = any(entry.built for entry in found), time.perf_counter() - started
    size = sum(entry.megabytes() for entry in found)
    where = found[0].path if len(found) == 1 else f"{found[0].path.parent} ({len(found)} views)"
    log.info(
        f"Features  {'computed once' if computed else 'opened from the cache'} in {seconds:.1f} s, {size:.0f} MB "
        f"{'before ' + place + ' ' if place else ''}in {where}"
    )
    channels_last = run.compute.channels_last
    prepare = None if views[0].ndim == 2 else lambda stored: from_stored(stored, channels_last)
    about = {"cached": True, "computed_now": computed, "seconds": seconds}
    return Kept(views, prepare, about if place is None else about | {"before": place, "megabytes": round(size)})


def load_view(run: TrainingRun, network: nn.Module, place: str | None, number: int) -> CacheEntry:
    """Open or compute the output for one variant of the images; number 0 is the images as they are."""
    data, compute, augmentation = run.data, run.compute, run.data.augmentation
    key = features_key(
        data.images.path.name,
        run.settings["data"]["normalize"],
        run.settings["model"],
        run.digests["weights"],
        vars(compute),
        place,
        (number, vars(augmentation)) if number else None,
    )
    prepare = data.prepare_training if number else data.normalize
    images = data.batches(data.pixels, run.trainer, prepare, from_disk=True)
    size = CPU_CHUNK if run.device.type == "cpu" else GPU_CHUNK
    with torch.random.fork_rng():  # the same variants for all runs, whatever their seed: they share them
        torch.manual_seed(number)
        return load_features(
            network,
            replace(images, batch_size=size, rank=0, world_size=1),
            len(data.index),
            key=key,
            cache_dir=data.cache_dir,
            precision=hardware.autocast(run.device, compute.precision),
            fuse=compute.fuses_norms,
        )
