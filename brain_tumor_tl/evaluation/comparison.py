"""Comparison: whether runs on the same test images differ significantly.

Each function takes which images a run predicts correctly, `(N,)`, in the same order for every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain_tumor_tl.evaluation.intervals import LEVEL, Interval, mean_interval, unit_numbers
from brain_tumor_tl.evaluation.ranking import Values

Hits = NDArray[np.bool_]


def mcnemar_exact(first: Hits, second: Hits) -> float:
    """Return the exact two-sided p-value of two runs being equally often correct.

    Of the images that only one run predicts correctly, each is equally likely to be either run's (McNemar 1947,
    Psychometrika 12:153; this is the exact binomial test, not the chi-square approximation). It assumes independent
    images.

    >>> mcnemar_exact(np.array([True] * 8), np.array([True] * 3 + [False] * 5))
    0.0625
    """
    only_first, only_second = discordant(first, second)
    count, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(comb(count, hits) for hits in range(fewer + 1))
    return float(min(1.0, 2 * tail / 2**count))


def discordant(first: Hits, second: Hits) -> tuple[int, int]:
    """Return how many images only the first run predicts correctly, and how many only the second."""
    lead = lead_of(first, second)
    return int((lead > 0).sum()), int((lead < 0).sum())


def lead_of(first: Hits, second: Hits) -> Values:
    """Return for each image 1 if only the first run predicts it correctly, -1 if only the second, else 0.

    Raises:
        ValueError: The numbers of images differ.
    """
    one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"Expected two runs on the same test images, got shapes {one.shape} and {other.shape}.")
    return one - other


def exchange_test(first: Hits, second: Hits, groups: ArrayLike | None = None) -> float:
    """Return the exact two-sided p-value of two runs being equally often correct, for images in groups.

    Under the null hypothesis the runs' answers in any whole group can be exchanged. The p-value is the share of all
    exchanges with a difference at least as large as the observed one (Fisher 1935, The Design of Experiments, 21),
    computed exactly by convolution. With each image in a group of its own this is `mcnemar_exact`.

    Args:
        first: Which images the first run predicts correctly, `(N,)`.
        second: The same of the second run.
        groups: Group of each image, `(N,)`; None puts each image in a group of its own.
    """
    if groups is None:
        return mcnemar_exact(first, second)
    leads = np.bincount(unit_numbers(len(first), groups), weights=lead_of(first, second))
    steps = np.abs(leads[leads != 0]).astype(np.int64)
    total = int(steps.sum())
    chances = np.zeros(2 * total + 1)  # of each difference, -total to total
    chances[total] = 1
    for step in steps:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2  # never wraps: the ends are 0 until the last
    far = np.abs(np.arange(-total, total + 1)) >= abs(int(leads.sum()))
    return min(1.0, float(chances[far].sum()))


def difference_interval(
    first: Hits, second: Hits, groups: ArrayLike | None = None, level: float = LEVEL
) -> Interval | None:
    """Return the confidence interval of the first run's accuracy minus the second's, by the paired bootstrap.

    Both runs' answers are resampled together (Efron, Tibshirani 1993, An Introduction to the Bootstrap, 13 and 16).

    Args:
        first: Which images the first run predicts correctly, `(N,)`.
        second: The same of the second run.
        groups: Group of each image, `(N,)`, drawn whole; None draws single images.
        level: Nominal confidence level.

    Returns:
        None if all resamples are equal, as for two runs that are correct on the same images.
    """
    return mean_interval(lead_of(first, second), groups, level)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in the same order.

    Rejecting those up to 0.05 keeps the chance of any false rejection at 5 % under any dependence (Holm 1979, Scand. J.
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


def compare_with_best(
    runs: Mapping[str, Hits], groups: ArrayLike | None = None, level: float = LEVEL
) -> dict[str, dict[str, Any]]:
    """Return for each run whether it differs significantly from the best, in the order given.

    All pairs are tested and corrected by Holm, not only those with the best: which run is best was determined on these
    same images, and testing fewer pairs would not account for that choice. "Not significantly different" doesn't prove
    that two runs are equal.

    Args:
        runs: Which images each run predicts correctly, `(N,)`, by the run's name; all on the same images.
        groups: Group of each image, `(N,)`, if known.
        level: 0.95 allows any false difference in at most 5 % of tables.

    Returns:
        By name: `accuracy`, the corrected `p_value` against the best (None for the first of the highest accuracy),
        `tied_with_best` if the difference is not significant, and `p_values` against each other run.

    Raises:
        ValueError: The runs are not on the same images.
    """
    pairs = list(combinations(runs, 2))
    corrected = holm([exchange_test(runs[one], runs[other], groups) for one, other in pairs])
    p_values = {frozenset(pair): value for pair, value in zip(pairs, corrected, strict=True)}
    accuracy = {name: float(np.mean(hits)) for name, hits in runs.items()}
    best = max(runs, key=accuracy.__getitem__, default="")
    table = {}
    for name in runs:
        p_value = p_values.get(frozenset((name, best)))  # None for the best itself
        table[name] = {
            "accuracy": accuracy[name],
            "p_value": p_value,
            "tied_with_best": p_value is None or p_value > 1 - level,
            "p_values": {other: p_values[frozenset((name, other))] for other in runs if other != name},
        }
    return table
