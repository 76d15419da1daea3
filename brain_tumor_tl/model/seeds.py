"""Seeds: where the random numbers of an epoch begin, so that a resumed run continues as an uninterrupted one."""

from __future__ import annotations


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Return the seed of an epoch's augmentation and dropout in one of several processes.

    Args:
        seed: The run's.
        epoch: Counted from 0.
        rank: The process's.
    """
    return seed * 100_003 + epoch + 7_919 * rank
