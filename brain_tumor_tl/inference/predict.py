"""Predict: pictures in, probabilities, features and distances out, a batch at a time and in bounded memory."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brain_tumor_tl.data.decode import Pixels
from brain_tumor_tl.data.reader import computed_ahead, result_or_reason
from brain_tumor_tl.inference.pictures import Source, stacked

if TYPE_CHECKING:
    from brain_tumor_tl.inference.trained_run import TrainedRun

BATCH = 16  # pictures that a thread decodes and computes at a time


class Predictions(NamedTuple):
    """What runs say of a batch of pictures, U of which can be read.

    Attributes:
        probabilities: `(U, K)`, the mean of the runs'.
        features: Of the first run, `(U, D)`.
        distances: To the training images of each run, `(runs, U)`; NaN if a run kept nothing of them.
        problems: For each picture of the batch why it can't be read, empty if it can.
    """

    probabilities: NDArray[np.float32]
    features: NDArray[np.float32]
    distances: NDArray[np.float32]
    problems: list[str]


def predict_batches(
    runs: Sequence[TrainedRun], sources: Sequence[Source], mirrored: bool = False
) -> Generator[Predictions, None, None]:
    """Yield predictions of pictures in their order, a batch at a time.

    Each thread decodes and computes batches of its own, in PyTorch with one thread, so that no core waits for another;
    a few batches per processor are in memory at a time. A single batch is computed with all threads.

    Args:
        runs: For the same classes.
        sources: The pictures.
        mirrored: Whether to predict each picture's mirror image too, and take the mean.
    """
    threads = torch.get_num_threads()
    size = min(BATCH, max(-(-len(sources) // threads), 1))
    starts = range(0, len(sources), size)

    def compute(start: int) -> Predictions:
        return predict_batch(runs, sources[start : start + size], mirrored)

    if len(starts) < 2:
        yield from map(compute, starts)
        return
    for run in runs:
        run.prepare_for_many()
    pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield from computed_ahead(pool, compute, starts)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # for threads that begin later: the number of this one did not change


def predict_batch(runs: Sequence[TrainedRun], sources: Sequence[Source], mirrored: bool = False) -> Predictions:
    """Return predictions of a batch of pictures; see `predict_batches`."""
    decoded: dict[object, list[Pixels | str]] = {}
    for run in runs:
        if run.decoding not in decoded:
            decoded[run.decoding] = [result_or_reason(run.pixels, source) for source in sources]
    problems = [
        next((one for one in found if isinstance(one, str)), "") for found in zip(*decoded.values(), strict=True)
    ]
    usable = [place for place, problem in enumerate(problems) if not problem]
    probabilities = np.zeros((len(usable), len(runs[0].classes)), np.float32)
    distances = np.full((len(runs), len(usable)), np.nan, np.float32)
    features = []
    for number, run in enumerate(runs if usable else ()):
        batch = stacked([decoded[run.decoding][place] for place in usable])  # type: ignore[misc]  # no reasons
        found, own = answer(run, batch, mirrored)
        features.append(found)
        probabilities += own / len(runs)
        if run.reference is not None:
            distances[number] = run.reference.distances(found)
    first = features[0] if features else np.zeros((0, 0), np.float32)
    return Predictions(probabilities, first, distances, problems)


def answer(run: TrainedRun, batch: Tensor, mirrored: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return features `(B, D)` and probabilities `(B, K)` of decoded pictures, uint8 `(B, C, H, W)`."""
    features, logits = run.compute_fast(batch)
    probabilities = run.probabilities(logits)
    if mirrored:
        mirror_image = run.probabilities(run.compute_fast(batch.flip(-1))[1])
        probabilities = np.mean([probabilities, mirror_image], axis=0, dtype=np.float32)
    return features.cpu().numpy(), probabilities


def predict_all(runs: Sequence[TrainedRun], sources: Sequence[Source], mirrored: bool = False) -> Predictions:
    """Return predictions of all pictures together; see `predict_batches`.

    Raises:
        ValueError: There is no picture, or one can't be read.
    """
    if not sources:
        raise ValueError("Expected at least one image, got none.")
    batches: list[Predictions] = []
    for batch in predict_batches(runs, sources, mirrored):
        for problem in filter(None, batch.problems):
            place = sum(len(other.problems) for other in batches) + batch.problems.index(problem)
            name = f" ({sources[place]})" if isinstance(sources[place], str | Path) else ""
            raise ValueError(f"Image {place}{name} can't be used: {problem}")
        batches.append(batch)
    probabilities, features, distances, problems = zip(*batches, strict=True)
    return Predictions(
        np.concatenate(probabilities),
        np.concatenate(features),
        np.concatenate(distances, axis=1),
        list(itertools.chain.from_iterable(problems)),
    )
