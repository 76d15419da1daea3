"""Kept: the output of a run's frozen part for every image, computed once, in place of the images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brain_tumor_tl.cache import CacheEntry
from brain_tumor_tl.console import log
from brain_tumor_tl.model.backbone import state_digest
from brain_tumor_tl.model.features import CPU_CHUNK, GPU_CHUNK, features_key, from_stored, load_features
from brain_tumor_tl.model.heads import Backbones
from brain_tumor_tl.run import hardware

if TYPE_CHECKING:
    from brain_tumor_tl.run.training_run import TrainingRun


@dataclass(frozen=True, eq=False)
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
    place, parts = run.freezing.kept_before, frozen_parts(run)
    numbers = range(run.settings["method"]["views"])
    by_view = [[load_view(run, part, place, number) for part in parts] for number in numbers]
    views = tuple(side_by_side([entry.array for entry in entries]) for entries in by_view)
    found = [entry for entries in by_view for entry in entries]
    computed, seconds = any(entry.built for entry in found), time.perf_counter() - started
    size = sum(entry.megabytes() for entry in found)
    where = found[0].path if len(found) == 1 else f"{found[0].path.parent} ({len(found)} files)"
    log.info(
        f"Features  {'computed once' if computed else 'opened from the cache'} in {seconds:.1f} s, {size:.0f} MB "
        f"{'before ' + place + ' ' if place else ''}in {where}"
    )
    channels_last = run.compute.channels_last
    prepare = None if views[0].ndim == 2 else lambda stored: from_stored(stored, channels_last)
    about = {"cached": True, "computed_now": computed, "seconds": seconds}
    return Kept(views, prepare, about if place is None else about | {"before": place, "megabytes": round(size)})


class FrozenPart(NamedTuple):
    """What is computed once: a network, the settings of the model that it is of, and the digest of its weights."""

    network: nn.Module
    model: Mapping[str, Any]
    weights: str


def frozen_parts(run: TrainingRun) -> list[FrozenPart]:
    """Return the frozen part of a run's backbone, or each of several backbones, which runs of that one alone share."""
    model, backbone = run.settings["model"], run.model.backbone
    if not isinstance(backbone, Backbones):
        return [FrozenPart(run.freezing.kept_part(), model, run.digests["weights"])]
    models = [model, *run.settings["head"]["backbones"]]
    return [FrozenPart(part, of, state_digest(part)) for part, of in zip(backbone.parts, models, strict=True)]


def side_by_side(arrays: Sequence[NDArray[Any]]) -> Tensor:
    """Return the features of several backbones `(N, sum of D)`; of one as they are in its file."""
    return torch.from_numpy(arrays[0] if len(arrays) == 1 else np.concatenate(arrays, 1))


def load_view(run: TrainingRun, part: FrozenPart, place: str | None, number: int) -> CacheEntry:
    """Open or compute the output for one variant of the images; number 0 is the images as they are."""
    data, compute, augmentation = run.data, run.compute, run.data.augmentation
    key = features_key(
        data.images.path.name,
        run.settings["data"]["normalize"],
        part.model,
        part.weights,
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
            part.network,
            replace(images, batch_size=size, rank=0, world_size=1),
            len(data.index),
            key=key,
            cache_dir=data.cache_dir,
            precision=hardware.autocast(run.device, compute.precision),
            fuse=compute.fuses_norms,
        )
