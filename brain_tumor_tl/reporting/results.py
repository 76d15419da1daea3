"""Results: the rows and tables that the files of a run and of an evaluation have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray


def prediction_columns(classes: Sequence[str]) -> list[str]:
    """Return the columns of `predictions.csv`."""
    return ["path", "label", "class", "predicted", "correct", *(f"probability/{name}" for name in classes)]


def prediction_rows(
    paths: Sequence[str], classes: Sequence[str], probabilities: NDArray[Any], labels: Sequence[int] | NDArray[Any]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of `predictions.csv`, in the bytewise order of paths: truth, prediction and probabilities.

    Args:
        paths: Path of each image.
        classes: Name of each class.
        probabilities: `(N, classes)`; they are written with all digits, so that every metric can be computed anew.
        labels: True class of each image.
    """
    columns = prediction_columns(classes)
    for place in sorted(range(len(paths)), key=paths.__getitem__):
        label, guess = int(labels[place]), int(probabilities[place].argmax())
        first = (paths[place], label, classes[label], classes[guess], int(guess == label))
        yield dict(zip(columns, (*first, *probabilities[place].tolist()), strict=True))


def per_class(
    summary: Mapping[str, float], classes: Sequence[str], confusion: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Return precision, recall, F1 and number of images of each class; metrics are None for a class without images.

    Args:
        summary: Metrics by name, such as `f1/glioma_tumor`.
        classes: Name of each class.
        confusion: Counts, row = true class.
    """
    return {
        name: {
            **{metric: summary[f"{metric}/{name}"] if sum(row) else None for metric in ("precision", "recall", "f1")},
            "support": int(sum(row)),
        }
        for name, row in zip(classes, confusion, strict=True)
    }


def as_typed(value: Any) -> str:
    """Return a setting's value as it is written in YAML and on the command line.

    >>> as_typed(None), as_typed(True), as_typed([["a", "b"], 1])
    ('null', 'true', '[[a,b],1]')
    """
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
