"""Answers: predictions as rows for CSV and JSON lines, and as an array of features in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.cache import new_array
from brain_tumor_tl.data.hierarchy import Members
from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.evaluation.hierarchy import summed
from brain_tumor_tl.files import finite, replacing
from brain_tumor_tl.inference.predict import Predictions

if TYPE_CHECKING:
    from brain_tumor_tl.inference.trained_run import TrainedRun

Row = dict[str, Any]
ABOVE = "superclass/"


def columns(classes: Sequence[str], labelled: bool = False, above: Sequence[str] = ()) -> list[str]:
    """Return the columns of predictions, with those of given labels and of superclasses `above` if there are any.

    >>> columns(["no_tumor", "glioma_tumor"])[:3]
    ['path', 'predicted', 'probability/no_tumor']
    """
    given = ["class", "self_confidence"] if labelled else []
    probabilities = [f"probability/{name}" for name in classes]
    sums = [f"{ABOVE}{name}" for name in above]
    return ["path", *given, "predicted", *probabilities, *sums, "distance", "unlike_training", "problem"]


def rows(runs: Sequence[TrainedRun], pictures: Iterable[Path], batches: Iterable[Predictions]) -> Iterator[Row]:
    """Yield a row for each picture, in order; one that can't be read has its problem alone.

    The distance to the training images is the mean of the runs'. A picture is unlike them if at least half of the runs
    that kept something of theirs say so.

    Args:
        runs: Those that predicted.
        pictures: All pictures.
        batches: Their predictions.
    """
    classes, names = runs[0].classes, iter(pictures)
    thresholds = np.array([[np.nan if run.reference is None else run.reference.threshold] for run in runs])
    known = int(np.isfinite(thresholds).sum())
    for batch in batches:
        distances, usable = batch.distances, 0
        unlike = (distances > thresholds).sum(axis=0) * 2 >= max(known, 1)
        for problem in batch.problems:
            row: Row = {"path": printable(str(next(names))), "problem": problem}
            if not problem:
                found = batch.probabilities[usable]
                row["predicted"] = classes[int(found.argmax())]
                row |= {f"probability/{name}": plain(value) for name, value in zip(classes, found, strict=True)}
                row |= superclass_row(found, classes, runs[0].superclasses)
                if known:
                    row["distance"] = plain(np.nanmean(distances[:, usable]))
                    row["unlike_training"] = int(unlike[usable])
                usable += 1
            yield row


def superclass_row(probabilities: NDArray[np.float32], classes: Sequence[str], members: Members | None) -> Row:
    """Return the probability of each superclass, the sum of those of its classes; empty without superclasses.

    Args:
        probabilities: Of one picture, `(K,)`.
        classes: Name of each class.
        members: Classes of each superclass.
    """
    if not members:
        return {}
    sums = summed(probabilities[None], classes, members)[0]
    return {f"{ABOVE}{name}": plain(np.float32(value)) for name, value in zip(members, sums, strict=True)}


def plain(value: np.float32) -> float:
    """Return a float32 as the float with the fewest digits that is it.

    >>> plain(np.float32(0.1))
    0.1
    """
    return float(str(np.float32(value)))


def json_line(row: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return a row as one line of JSON, the probabilities as one object."""
    probabilities = {name: row[column] for name in classes if (column := f"probability/{name}") in row}
    above = {name.removeprefix(ABOVE): value for name, value in row.items() if name.startswith(ABOVE)}
    flag = row.get("unlike_training")
    content = {
        "path": row["path"],
        "predicted": row.get("predicted"),
        "probabilities": probabilities or None,
        **({"superclasses": above} if above else {}),
        "distance": row.get("distance"),
        "unlike_training": None if flag is None else bool(flag),
        "problem": row["problem"] or None,
    }
    return json.dumps(finite(content), ensure_ascii=False)


def ranked(found: Iterable[Row], labels: Mapping[str, str]) -> list[Row]:
    """Return rows with their given labels, those first whose label the run finds least probable.

    That is the self-confidence of Northcutt et al. 2021 ("Confident Learning", JAIR 70).

    Args:
        found: Rows of `rows`.
        labels: The class of each picture that can be read, by the row's path.
    """
    labelled = []
    for row in found:
        given = labels.get(row["path"], "")
        labelled.append({**row, "class": given, "self_confidence": row.get(f"probability/{given}")})
    return sorted(labelled, key=lambda row: (row["self_confidence"] is None, row["self_confidence"] or 0.0))


def keeping_features(batches: Iterable[Predictions], path: Path, count: int) -> Iterator[Predictions]:
    """Yield batches, and write their features as a float32 array `(count, D)`, NaN for pictures that can't be read.

    The file is there once all batches are.

    Args:
        batches: Of all pictures.
        path: The .npy file.
        count: Number of pictures.
    """
    done, array = 0, None
    with replacing(path) as temporary:
        for batch in batches:
            usable = np.array([not problem for problem in batch.problems])
            if array is None and usable.any():
                array = new_array(temporary, np.float32, (count, batch.features.shape[1]))
                array[:done] = np.nan
            if array is not None:
                array[done : done + len(usable)] = np.nan
                array[done : done + len(usable)][usable] = batch.features
            done += len(usable)
            yield batch
        if array is None:
            array = new_array(temporary, np.float32, (count, 0))
        array.flush()
