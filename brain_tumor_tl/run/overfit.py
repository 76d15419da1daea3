"""Overfit: a run on a few training images, which a network and a recipe that can learn must learn by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brain_tumor_tl.console import log
from brain_tumor_tl.data.splits.split import LEFT_OUT, Split

LEARNT = 0.99  # accuracy on the training images


def few_images(split: Split, count: int, seed: int) -> Split:
    """Return a split with a few of the training images, drawn at random; the others are left out.

    Args:
        split: It stays as it is.
        count: Training images that are kept.
        seed: Seed of the draw.
    """
    codes = split.codes.copy()
    codes[np.random.RandomState(seed).permutation(split.train)[count:]] = LEFT_OUT
    return Split(codes)


def tell_whether_learnt(rows: Sequence[Mapping[str, Any]], images: int) -> None:
    """Log whether a run learnt its training images by heart.

    Args:
        rows: One for each epoch, with `train/accuracy`.
        images: Number of training images.
    """
    best = max(row["train/accuracy"] for row in rows)
    if best >= LEARNT:
        epoch = next(row["epoch"] for row in rows if row["train/accuracy"] >= LEARNT)
        log.info(f"Overfit   yes: {best:.0%} of the {images} images learnt by heart, in epoch {epoch}")
    else:
        log.warning(
            f"Overfit   no: {best:.0%} of the {images} images after {len(rows)} epochs, expected {LEARNT:.0%}. Give "
            "more trainer.max_epochs or another optimizer.lr; else look at the labels, the loss and what is frozen."
        )
