"""Intervals: confidence intervals of a finite test set. docs/statistics.md says which one is reported where."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain_tumor_tl.evaluation.ranking import Labels, Values, class_aurocs, mean_defined, ratio

LEVEL = 0.95
RESAMPLES = 2000
FEWEST, ENOUGH = 500, 2_000_000_000  # resamples at least; numbers (resamples x images x classes) that are enough work
CHUNK = 4_000_000  # weights of the resamples that are computed at a time, 32 MB
BOOTSTRAPPED = ("precision", "f1", "auroc")  # of each class
Interval = list[float]  # low and high; a list, since JSON has no tuples
Statistic = Callable[[Values], Mapping[str, Values]]


def wilson_interval(hits: int, count: int, level: float = LEVEL) -> Interval | None:
    """Return Wilson's score interval of a proportion, None if the count is 0.

    Unlike the normal approximation it holds for proportions of 0 or 1 and for small counts (Wilson 1927, J. Am. Stat.
    Assoc. 22:209; Brown, Cai, DasGupta 2001, Stat. Sci. 16:101). It assumes independent images: copies among them make
    it too narrow.

    Args:
        hits: Number of images that were predicted correctly.
        count: Number of images.
        level: Confidence level.

    Raises:
        ValueError: `hits` is not between 0 and `count`.

    >>> [round(end, 4) for end in wilson_interval(590, 653)]
    [0.8785, 0.9239]
    """
    if not 0 <= hits <= count:
        raise ValueError(f"Expected hits between 0 and the {count} images, got {hits}.")
    if count == 0:
        return None
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, shrink = hits / count, z * z / count
    middle = (share + shrink / 2) / (1 + shrink)
    half = z * math.sqrt(share * (1 - share) / count + shrink / (4 * count)) / (1 + shrink)
    # The ends 0 and 1 are exact; rounding would leave 1e-18.
    return [0.0 if hits == 0 else middle - half, 1.0 if hits == count else middle + half]


def unit_numbers(count: int, groups: ArrayLike | None = None) -> Labels:
    """Return the number of the unit that each image is resampled with, from 0.

    Args:
        count: Number of images.
        groups: Group of each image, `(N,)`, numbers or names; None makes each image a unit.

    Raises:
        ValueError: The number of groups is not that of the images.
    """
    if groups is None:
        return np.arange(count)
    names = np.asarray(groups)
    if names.shape != (count,):
        raise ValueError(f"Expected the group of each of {count} images, got an array of shape {names.shape}.")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def resampled_weights(units: Labels, resamples: int, seed: int) -> Iterator[Values]:
    """Yield how often each image occurs in each resample, in chunks `(R, N)`; each draws as many units as there are.

    Args:
        units: Number of the unit of each image, `(N,)`, from 0; units are drawn whole.
        resamples: Number of resamples in all.
        seed: Seed of the draws.
    """
    generator, count = np.random.default_rng(seed), int(units.max(initial=-1)) + 1
    size = max(1, CHUNK // max(len(units), 1))
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        draws = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(draws.ravel(), minlength=rows * count).reshape(rows, count)
        yield times[:, units].astype(np.float64)


def bootstrap(
    statistic: Statistic, units: Labels, level: float = LEVEL, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval | None]:
    """Return the percentile interval of each metric over resamples of whole units.

    Efron 1979 (Ann. Stat. 7:1). Units are drawn whole because the images in one are not independent (Davison, Hinkley
    1997, Bootstrap Methods and their Application, 3.8). Resamples in which a metric is undefined, such as the recall of
    a class that wasn't drawn, are left out of its interval.

    Args:
        statistic: Takes weights `(R, N)` and returns metrics by name, `(R,)` each.
        units: Number of the unit of each image, `(N,)`, from 0.
        level: Nominal confidence level.
        seed: Seed of the draws.
        resamples: Number of resamples.

    Returns:
        Low and high by name. None if a metric is the same in all resamples, as with a single unit or a perfect score:
        the interval would be a point.
    """
    chunks = [statistic(weights) for weights in resampled_weights(units, resamples, seed)] if len(units) else []
    names = chunks[0] if chunks else ()
    return {name: percentile_interval(np.concatenate([chunk[name] for chunk in chunks]), level) for name in names}


def percentile_interval(values: Values, level: float = LEVEL) -> Interval | None:
    """Return the central range that holds the share `level` of the finite values, None if they are all equal."""
    known = values[np.isfinite(values)]
    if len(known) == 0 or np.ptp(known) < 1e-12:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def count_metrics(hits: Values, truth: Values, predicted: Values, classes: Sequence[str]) -> dict[str, Values]:
    """Return accuracy, balanced accuracy, macro F1, and precision, recall and F1 of each class as `f1/glioma_tumor`.

    Balanced accuracy and macro F1 are the mean recall (Brodersen et al. 2010, ICPR) and the mean F1 of the classes that
    have images. Undefined metrics are NaN. torchmetrics takes one resample at a time; here all go through at once.

    Args:
        hits: Correctly predicted images of each class, `(R, K)`.
        truth: Images of each class, `(R, K)`.
        predicted: Images predicted as each class, `(R, K)`.
        classes: Name of each class.
    """
    by_class = {"precision": ratio(hits, predicted), "recall": ratio(hits, truth)}
    by_class["f1"] = np.where(truth > 0, ratio(2 * hits, truth + predicted), np.nan)
    return {
        "accuracy": ratio(hits.sum(axis=1), truth.sum(axis=1)),
        "balanced_accuracy": mean_defined(by_class["recall"]),
        "macro_f1": mean_defined(by_class["f1"]),
        **{f"{name}/{label}": values[:, i] for name, values in by_class.items() for i, label in enumerate(classes)},
    }


def class_sums(weights: Values, labels: Labels, size: int) -> Values:
    """Return the sum of the weights `(R, N)` of each class's images, `(R, size)`, by labels `(N,)`."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    sums = np.zeros((len(weights), size))
    if len(present):
        sums[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return sums


def run_statistic(labels: Labels, probabilities: Values, classes: Sequence[str]) -> Statistic:
    """Return the function from weights `(R, N)` to all metrics of a run.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
    """
    guess = probabilities.argmax(axis=1)
    right = guess == labels

    def metrics(weights: Values) -> dict[str, Values]:
        of_hits = class_sums(weights[:, right], labels[right], len(classes))
        of_truth, of_guess = (class_sums(weights, each, len(classes)) for each in (labels, guess))
        counted = count_metrics(of_hits, of_truth, of_guess, classes)
        return counted | class_aurocs(labels, probabilities, classes, weights)

    return metrics


def run_intervals(
    labels: Labels,
    probabilities: Values,
    classes: Sequence[str],
    groups: ArrayLike | None = None,
    unit: str = "group",
    seed: int = 0,
) -> dict[str, Any]:
    """Return the confidence interval of each main metric of a run, for its results.json.

    `accuracy` and each class's `recall` are Wilson's; `accuracy_bootstrap` and all others come from resamples of the
    groups if they are known, else of the images.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
        groups: Group of each image, `(N,)`, if known.
        unit: What the groups hold: "patient" for the images of a patient, "group" for copies alone.
        seed: Seed of the resamples; not the run's, so that the same resamples serve every run.
    """
    units = unit_numbers(len(labels), groups)
    resamples = min(RESAMPLES, max(FEWEST, ENOUGH // max(probabilities.size, 1)))
    drawn = bootstrap(run_statistic(labels, probabilities, classes), units, seed=seed, resamples=resamples)
    hits = probabilities.argmax(axis=1) == labels
    per_class: dict[str, dict[str, Interval | None]] = {}
    for label, name in enumerate(classes):
        members = labels == label
        per_class[name] = {"recall": wilson_interval(int(hits[members].sum()), int(members.sum()))}
        per_class[name] |= {m: drawn.get(f"{m}/{name}") if members.any() else None for m in BOOTSTRAPPED}
    return {
        "level": LEVEL,
        "unit": "image" if groups is None else unit,
        "units": int(units.max(initial=-1)) + 1,
        "resamples": resamples,
        "accuracy": wilson_interval(int(hits.sum()), len(labels)),
        "accuracy_bootstrap": drawn.get("accuracy"),
        **{name: drawn.get(name) for name in ("balanced_accuracy", "macro_f1", "auroc")},
        "per_class": per_class,
    }


def mean_interval(values: Values, groups: ArrayLike | None = None, level: float = LEVEL) -> Interval | None:
    """Return the bootstrap interval of the mean of values `(N,)`, None if all resamples are equal.

    Args:
        values: One for each image, `(N,)`.
        groups: Group of each image, `(N,)`, drawn whole; None draws single images.
        level: Nominal confidence level.
    """
    units = unit_numbers(len(values), groups)
    return bootstrap(lambda weights: {"mean": weights @ values / weights.sum(axis=1)}, units, level).get("mean")


def accuracy_interval(
    hits: NDArray[np.bool_], groups: ArrayLike | None = None, unit: str = "group"
) -> tuple[Interval | None, str]:
    """Return the interval of an accuracy that docs/statistics.md recommends, and the unit that it takes as independent.

    It comes from resamples of groups if they are known and the resamples differ, else it is Wilson's.

    Args:
        hits: Which images were predicted correctly, `(N,)`.
        groups: Group of each image, `(N,)`, if known.
        unit: What the groups hold, "patient" or "group"; see `run_intervals`.

    Returns:
        The interval, and `patient`, `group` or `image`.
    """
    if groups is not None:
        interval = mean_interval(hits.astype(np.float64), groups)
        if interval is not None:
            return interval, unit
    return wilson_interval(int(hits.sum()), len(hits)), "image"


def recommended(intervals: Mapping[str, Any]) -> tuple[Interval | None, str]:
    """Return the accuracy interval in a run's `intervals` that `accuracy_interval` would give, and its unit."""
    unit = intervals.get("unit", "image")
    if unit != "image" and intervals.get("accuracy_bootstrap") is not None:
        return intervals["accuracy_bootstrap"], unit
    return intervals.get("accuracy"), "image"
