"""Intervals: how far a figure may be off for resting on so few images. docs/statistics.md says which stands where."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain_tumor_tl.evaluation.ranking import Values, mean_defined, rank_figures, share

LEVEL = 0.95
RESAMPLES = 2000
CHUNK = 4_000_000  # numbers in the weights of one chunk of resamples, 32 MB
Interval = list[float]  # low and high; a list, since JSON has no tuples
Statistic = Callable[[Values], Mapping[str, Values]]


def wilson_interval(hits: int, count: int, level: float = LEVEL) -> Interval | None:
    """Return the score interval of a share, None where there is nothing to share.

    It holds where the share is 0 or 1 or the count small, where the usual interval of a normal distribution fails
    (Wilson 1927, J. Am. Stat. Assoc. 22:209; Brown, Cai, DasGupta 2001, Stat. Sci. 16:101). It takes the images for
    independent of each other: copies among them make it too narrow.

    Args:
        hits: Images that are right.
        count: All images.
        level: Share of such intervals that hold the true value.

    Raises:
        ValueError: There are more hits than images, or fewer than none.

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
    low = 0.0 if hits == 0 else middle - half  # exact at the ends, where rounding would leave 1e-18
    high = 1.0 if hits == count else middle + half
    return [low, high]


def unit_numbers(count: int, groups: ArrayLike | None = None) -> NDArray[np.int64]:
    """Return the number of the unit that each image is resampled with, from 0.

    Args:
        count: Number of images.
        groups: Group of each image, `(N,)`, numbers or names; None makes every image a unit.

    Raises:
        ValueError: There is not one group for each image.
    """
    if groups is None:
        return np.arange(count)
    names = np.asarray(groups)
    if names.shape != (count,):
        raise ValueError(f"Expected the group of each of {count} images, got an array of shape {names.shape}.")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def resampled_weights(units: NDArray[np.int64], resamples: int, seed: int) -> Iterator[Values]:
    """Yield how often each image stands in each resample, `(some resamples, N)`, as many units drawn as there are.

    Args:
        units: Number of the unit of each image, `(N,)`, from 0; a unit is drawn whole.
        resamples: Resamples in all.
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
    statistic: Statistic,
    units: NDArray[np.int64],
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Return the percentile interval of each figure over resamples of whole units.

    Efron 1979 (Ann. Stat. 7:1); units are drawn whole because images within one are not independent (Davison, Hinkley
    1997, Bootstrap Methods and their Application, 3.8). Resamples in which a figure is undefined, such as the recall of
    a class that wasn't drawn, are left out of its interval.

    Args:
        statistic: Takes weights `(R, N)` and returns figures by name, `(R,)` each.
        units: Number of the unit of each image, `(N,)`, from 0.
        resamples: Number of resamples.
        level: Share of such intervals that hold the true value, roughly.
        seed: Seed of the draws.

    Returns:
        Low and high by name. None where resamples can't tell: of one unit they are all alike, and of a figure that is
        the same in all of them, such as a perfect one, the interval would be a point.
    """
    chunks = [statistic(weights) for weights in resampled_weights(units, resamples, seed)] if len(units) else []
    names = chunks[0] if chunks else ()
    return {name: percentile_interval(np.concatenate([chunk[name] for chunk in chunks]), level) for name in names}


def percentile_interval(values: Values, level: float = LEVEL) -> Interval | None:
    """Return the range of the middle `level` of the values that are numbers, None where they don't differ."""
    known = values[np.isfinite(values)]
    if len(known) == 0 or np.ptp(known) < 1e-12:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return [float(low), float(high)]


def confusion_figures(matrices: Values, classes: Sequence[str]) -> dict[str, Values]:
    """Return accuracy, balanced accuracy, macro F1, and precision, recall and F1 of each class as `f1/glioma_tumor`.

    Balanced accuracy is the mean recall of the classes that have images (Brodersen et al. 2010, ICPR); macro F1 the
    mean F1 of the classes that have images or predictions. NaN stands for what is undefined.

    Args:
        matrices: Counts `(R, K, K)`, row = true class.
        classes: Name of each class.
    """
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    truth, guessed = matrices.sum(axis=2), matrices.sum(axis=1)
    recall, precision, f1 = share(hits, truth), share(hits, guessed), share(2 * hits, truth + guessed)
    figures = {
        "accuracy": share(hits.sum(axis=1), truth.sum(axis=1)),
        "balanced_accuracy": mean_defined(recall),
        "macro_f1": mean_defined(f1),
    }
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        figures |= {f"{name}/{label}": values[:, column] for column, label in enumerate(classes)}
    return figures


def run_statistic(labels: NDArray[np.int64], probabilities: Values, classes: Sequence[str]) -> Statistic:
    """Return the function from weights `(R, N)` to all figures of a run.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
    """
    kinds = len(classes)
    cells = np.eye(kinds * kinds)[labels * kinds + probabilities.argmax(axis=1)]

    def figures(weights: Values) -> dict[str, Values]:
        matrices = (weights @ cells).reshape(-1, kinds, kinds)
        return confusion_figures(matrices, classes) | rank_figures(labels, probabilities, classes, weights)

    return figures


def run_intervals(
    labels: NDArray[np.int64],
    probabilities: Values,
    classes: Sequence[str],
    groups: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the interval of each headline figure of a run, for its results.json.

    `accuracy` and each class's `recall` are Wilson's; `accuracy_bootstrap` and all others come from resamples of groups
    where they are known, else of images.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
        groups: Group of each image, `(N,)`, where known.
        resamples: Number of resamples.
        level: Share of such intervals that hold the true value.
        seed: Seed of the resamples; not the run's, so that two runs' intervals rest on the same resamples.
    """
    units = unit_numbers(len(labels), groups)
    drawn = bootstrap(run_statistic(labels, probabilities, classes), units, resamples, level, seed)
    hits, per_class = probabilities.argmax(axis=1) == labels, {}
    for label, name in enumerate(classes):
        members = labels == label
        recall = wilson_interval(int(hits[members].sum()), int(members.sum()), level)
        others = {figure: drawn.get(f"{figure}/{name}") if members.any() else None for figure in BOOTSTRAPPED}
        per_class[name] = {"recall": recall, **others}
    return {
        "level": level,
        "unit": "image" if groups is None else "group",
        "units": int(units.max(initial=-1)) + 1,
        "resamples": resamples,
        "accuracy": wilson_interval(int(hits.sum()), len(labels), level),
        "accuracy_bootstrap": drawn.get("accuracy"),
        **{name: drawn.get(name) for name in ("balanced_accuracy", "macro_f1", "auroc")},
        "per_class": per_class,
        "absent": [name for label, name in enumerate(classes) if not (labels == label).any()],
    }


def accuracy_interval(
    hits: NDArray[np.bool_], groups: ArrayLike | None = None, level: float = LEVEL
) -> tuple[Interval | None, str]:
    """Return the interval of an accuracy that docs/statistics.md recommends, and what it takes for independent.

    By resamples of groups where they are known and say anything, else Wilson's.

    Args:
        hits: Which images are right, `(N,)`.
        groups: Group of each image, `(N,)`, where known.
        level: Share of such intervals that hold the true value.

    Returns:
        The interval, and `group` or `image`.
    """
    if groups is not None:
        right = hits.astype(np.float64)
        units = unit_numbers(len(hits), groups)
        drawn = bootstrap(lambda weights: {"accuracy": weights @ right / weights.sum(axis=1)}, units, level=level)
        if drawn.get("accuracy") is not None:
            return drawn["accuracy"], "group"
    return wilson_interval(int(hits.sum()), len(hits), level), "image"


def recommended(intervals: Mapping[str, Any]) -> tuple[Interval | None, str]:
    """Return of a run's `intervals` the one of its accuracy that `accuracy_interval` would give, and its unit."""
    if intervals.get("unit") == "group" and intervals.get("accuracy_bootstrap") is not None:
        return intervals["accuracy_bootstrap"], "group"
    return intervals.get("accuracy"), "image"


BOOTSTRAPPED = ("precision", "f1", "auroc")  # of each class


def over_seeds(values: Sequence[float]) -> dict[str, float | int | None]:
    """Return mean, standard std of a sample (n - 1) and number of runs that differ in their seed alone.

    The std says how far one run lies from the next. It is no interval of the figure on other images.

    Args:
        values: The figure of each run; of one run there is no std, of none no mean.

    >>> over_seeds([0.9, 0.88, 0.89])["std"]
    0.010000000000000009
    """
    return {
        "mean": fmean(values) if values else None,
        "std": stdev(values) if len(values) > 1 else None,
        "runs": len(values),
    }
