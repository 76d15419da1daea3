"""Hierarchy: what predictions are worth for superclasses, such as tumour above its kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from brain_tumor_tl.evaluation.intervals import count_metrics, run_intervals
from brain_tumor_tl.evaluation.ranking import Labels, Values, class_aurocs, finite_or_none

Members = Mapping[str, Sequence[str]]


def summed(probabilities: Values | NDArray[np.float32], classes: Sequence[str], members: Members) -> Values:
    """Return the probability of each superclass, `(N, S)`: the sum of those of its classes.

    Args:
        probabilities: `(N, K)`.
        classes: Name of each class.
        members: Classes of each superclass; every class has one.
    """
    columns = [[classes.index(name) for name in names] for names in members.values()]
    return np.stack([probabilities[:, places].sum(axis=1, dtype=np.float64) for places in columns], axis=1)


def superclass_results(
    labels: Labels,
    probabilities: Values,
    classes: Sequence[str],
    members: Members,
    groups: ArrayLike | None = None,
    unit: str = "group",
) -> dict[str, Any]:
    """Return what a run is worth for the superclasses, for its results.json; metrics are None where undefined.

    The prediction is the superclass of the greatest probability, which need not be that of the most probable class. Of
    two superclasses the recalls are sensitivity and specificity.

    Args:
        labels: True class of each image, `(N,)`.
        probabilities: `(N, K)`.
        classes: Name of each class.
        members: Classes of each superclass; every class has one.
        groups: Group of each image, `(N,)`, if known.
        unit: What the groups hold, see `run_intervals`.
    """
    names, values = list(members), summed(probabilities, classes, members)
    parents = np.array([next(place for place, name in enumerate(names) if each in members[name]) for each in classes])
    truth, guess = parents[labels], values.argmax(axis=1)
    matrix = np.zeros((len(names), len(names)), np.int64)
    np.add.at(matrix, (truth, guess), 1)
    hits, support, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    counts = [each[None].astype(np.float64) for each in (hits, support, predicted)]
    counted = count_metrics(counts[0], counts[1], counts[2], names)
    figures = {name: finite_or_none(value[0]) for name, value in counted.items()}
    return {
        "members": {name: list(below) for name, below in members.items()},
        **{name: figures[name] for name in ("accuracy", "balanced_accuracy", "macro_f1")},
        "auroc": finite_or_none(class_aurocs(truth, values, names)["auroc"][0]),
        "per_class": {
            name: {**{m: figures[f"{m}/{name}"] for m in ("precision", "recall", "f1")}, "support": int(count)}
            for name, count in zip(names, support, strict=True)
        },
        "confusion_matrix": matrix.tolist(),
        "intervals": run_intervals(truth, values, names, groups, unit),
    }
