"""Comparison: whether runs on the same test images differ by more than chance, and which can't be told apart.

Each function takes which images a run has right, `(N,)`, in the same order for every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain_tumor_tl.evaluation.intervals import LEVEL, RESAMPLES, Interval, bootstrap, unit_numbers
from brain_tumor_tl.evaluation.ranking import Values

Hits = NDArray[np.bool_]


def mcnemar_exact(first: Hits, second: Hits) -> float:
    """Return the exact two-sided p-value of two runs being equally often right.

    Of the images that just one run has right, each is equally likely to be either's (McNemar 1947, Psychometrika
    12:153; the exact test is the binomial one, not his approximation by chi square). It takes the images for
    independent.

    Args:
        first: Which images the first run has right, `(N,)`.
        second: The same of the second run.

    >>> mcnemar_exact(np.array([True] * 8), np.array([True] * 3 + [False] * 5))
    0.0625
    """
    only_first, only_second = discordant(first, second)
    count, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(count, hits) for hits in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**count))


def discordant(first: Hits, second: Hits) -> tuple[int, int]:
    """Return how many images only the first run has right, and only the second."""
    lead = lead_of(first, second)
    return int((lead > 0).sum()), int((lead < 0).sum())


def lead_of(first: Hits, second: Hits) -> Values:
    """Return for each image 1 where only the first run has it right, -1 where only the second, else 0.

    Raises:
        ValueError: They are not runs on the same images.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"Expected two runs on the same test images, got shapes {one.shape} and {other.shape}.")
    return one - other


def exchange_test(first: Hits, second: Hits, groups: ArrayLike | None = None) -> float:
    """Return the exact two-sided p-value of two runs being equally often right, where images come in groups.

    If the runs are alike, exchanging their answers in any whole group is as likely as not; the p-value is the share of
    all such exchanges with a difference at least as large as the one seen (Fisher 1935, The Design of Experiments, 21),
    summed by convolution and not drawn. With every image a group of its own this is `mcnemar_exact`.

    Args:
        first: Which images the first run has right, `(N,)`.
        second: The same of the second run.
        groups: Group of each image, `(N,)`; None makes every image a group.
    """
    if groups is None:
        return mcnemar_exact(first, second)
    leads = np.bincount(unit_numbers(len(first), groups), weights=lead_of(first, second))
    steps = np.abs(leads[leads != 0]).astype(np.int64)
    total = int(steps.sum())
    chances = np.zeros(2 * total + 1)  # of each difference, -total to total
    chances[total] = 1
    for step in steps:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2  # never wraps: the ends stay 0 till the last
    far = np.abs(np.arange(-total, total + 1)) >= abs(int(leads.sum()))
    return min(1.0, float(chances[far].sum()))


def difference_interval(
    first: Hits,
    second: Hits,
    groups: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """Return the interval of the first run's accuracy less the second's, by resamples of the images of both at once.

    The paired percentile bootstrap (Efron, Tibshirani 1993, An Introduction to the Bootstrap, 13 and 16).

    Args:
        first: Which images the first run has right, `(N,)`.
        second: The same of the second run.
        groups: Group of each image, `(N,)`, drawn whole; None draws images.
        resamples: Number of resamples.
        level: Share of such intervals that hold the true value, roughly.
        seed: Seed of the draws.

    Returns:
        None where the resamples are all alike, as of two runs that are right on the same images.
    """
    lead = lead_of(first, second)

    def difference(weights: Values) -> dict[str, Values]:
        return {"difference": weights @ lead / weights.sum(axis=1)}

    drawn = bootstrap(difference, unit_numbers(len(lead), groups), resamples, level, seed)
    return drawn.get("difference")


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in their order: reject each that stays at or below 0.05.

    With that the chance of one false rejection or more is at most 5 %, whatever depends on what (Holm 1979, Scand. J.
    Stat. 6:65).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def indistinguishable(
    runs: Mapping[str, Hits], groups: ArrayLike | None = None, level: float = LEVEL
) -> dict[str, dict[str, Any]]:
    """Return for each run whether it can be told apart from the best, in the order in which they come.

    All pairs are tested and corrected by Holm, not the pairs with the best alone: which run is best was seen on these
    very images, and the fewer tests would not pay for that choice. "Can't be told apart" is no proof of being alike.

    Args:
        runs: Which images each run has right, `(N,)`, by the run's name; all on the same images.
        groups: Group of each image, `(N,)`, where known.
        level: 0.95 lets one false difference or more pass in 5 % of tables at most.

    Returns:
        By name: `accuracy`, `best` for each run of the highest accuracy, `p_value` against the best, corrected (None
        for the first of the best), and `like_the_best`.

    Raises:
        ValueError: The runs are not on the same images.
    """
    names = list(runs)
    pairs = list(combinations(names, 2))
    corrected = holm([exchange_test(runs[one], runs[other], groups) for one, other in pairs])
    p_values = {frozenset(pair): value for pair, value in zip(pairs, corrected, strict=True)}
    accuracy = {name: float(np.mean(hits)) for name, hits in runs.items()}
    best = max(names, key=accuracy.__getitem__, default=None)
    table = {}
    for name in names:
        p_value = None if name == best else p_values[frozenset((name, str(best)))]
        table[name] = {
            "accuracy": accuracy[name],
            "best": accuracy[name] == accuracy[str(best)],
            "p_value": p_value,
            "like_the_best": p_value is None or p_value > 1 - level,
        }
    return table
