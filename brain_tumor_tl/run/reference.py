"""Reference: what a run keeps of its training images, by which later pictures are told to be unlike them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from brain_tumor_tl import files
from brain_tumor_tl.data.batches import Batches
from brain_tumor_tl.evaluation.novelty import directions_of, make_reference, sample
from brain_tumor_tl.reporting.discover import REFERENCE
from brain_tumor_tl.run import hardware

if TYPE_CHECKING:
    from brain_tumor_tl.run.training_run import TrainingRun


def write_reference(run: TrainingRun, everything: Batches) -> None:
    """Write where a run's training images are in feature space to `reference.npz`.

    There is no file if they show no distance, as those of a single image or of a diverged run.

    Args:
        run: With the weights that were tested.
        everything: All images, or what is kept of them, without augmentation.
    """
    train = run.data.split.train
    chosen = train[sample(len(train))]
    directions = np.concatenate([directions_of(block) for block in features_of(run, everything, chosen)])
    groups = run.data.relations.known_groups(run.data.protocol.by)
    reference = make_reference(directions, run.width, chosen if groups is None else groups[chosen])
    path = run.folder / REFERENCE
    if reference is None:
        path.unlink(missing_ok=True)
        return
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(reference))


def features_of(run: TrainingRun, everything: Batches, chosen: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Yield the features of some images, in batches `(B, D)`; all at once may be more than memory holds."""
    model = run.model.to(run.device).eval()
    for inputs, _, _ in everything.of(chosen, rank=0, world_size=1):
        with torch.inference_mode(), hardware.autocast(run.device, run.compute.precision):
            yield model.freezing.features(inputs).float().cpu().numpy()
