"""Reference: what a run keeps of its training images, by which later pictures are told to be unlike them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brain_tumor_tl import files
from brain_tumor_tl.evaluation.novelty import directions_of, make_reference, sample
from brain_tumor_tl.reporting.discover import REFERENCE
from brain_tumor_tl.run import hardware

if TYPE_CHECKING:
    from brain_tumor_tl.run.training_run import TrainingRun

ROWS = 256  # cached features that are in memory at a time
Features = NDArray[np.float32]


def write_reference(run: TrainingRun, features: Tensor | None) -> None:
    """Write where a run's training images are in feature space to `reference.npz`.

    There is no file if they show no distance, as those of a single image or of a diverged run.

    Args:
        run: With the weights that were tested.
        features: Those of all images, if they are cached; None to compute those of the sample.
    """
    train = run.data.split.train
    chosen = train[sample(len(train))]
    blocks = computed(run, chosen) if features is None else cached(features, chosen)
    directions = np.concatenate([directions_of(block) for block in blocks])
    groups = run.data.relations.known_groups(run.data.protocol.by)
    reference = make_reference(directions, run.width, chosen if groups is None else groups[chosen])
    path = run.folder / REFERENCE
    if reference is None:
        path.unlink(missing_ok=True)
        return
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(reference))


def cached(features: Tensor, chosen: NDArray[np.int64]) -> Iterator[Features]:
    """Yield the features of some images in blocks, `(B, D)`; all at once may be more than memory holds."""
    for start in range(0, len(chosen), ROWS):
        yield features.numpy()[chosen[start : start + ROWS]]


def computed(run: TrainingRun, chosen: NDArray[np.int64]) -> Iterator[Features]:
    """Compute the features of some images, without augmentation; yield them in batches, `(B, D)`."""
    everything = run.data.batches(run.data.pixels, run.trainer, run.data.normalize, from_disk=True)
    backbone = run.model.backbone.to(run.device).eval()
    for images, _, _ in everything.of(chosen, rank=0, world_size=1):
        with torch.inference_mode(), hardware.autocast(run.device, run.compute.precision):
            yield backbone(images).float().cpu().numpy()
