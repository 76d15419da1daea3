"""Suspects: images of finished cross-validations whose label the models contradict, as a list to be looked at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from brain_tumor_tl.evaluation.suspects import rank_label_suspects
from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.page import Picture
from brain_tumor_tl.reporting.strip import strip
from brain_tumor_tl.reporting.table import Table, make_table

COLUMNS = ("rank", "path", "label", "predicted", "label_probability", "predicted_probability", "cross_validations")
SHOWN = 48  # suspects whose pictures and rows the page shows
SIZE = 128  # pixels of a picture
NOTE = (
    "These are the images whose label is contradicted most by models that were not trained on them, as a list to be "
    "looked at. Most of them are hard images with a right label: their number says nothing about the number of wrong "
    "labels."
)


class Suspects(NamedTuple):
    """The suspects of the cross-validations of one data set.

    Attributes:
        rows: A row for each, with `COLUMNS`, the most contradicted first.
        root: Folder of the images, as the runs have it.
    """

    rows: list[dict[str, Any]]
    root: Path


def find_suspects(groups: Sequence[RunGroup]) -> list[Suspects]:
    """Return the suspects of each data set with complete cross-validations, by the mean of their probabilities."""
    by_data: dict[tuple[Any, ...], list[RunGroup]] = defaultdict(list)
    for group in groups:
        results = group.runs[0].results
        if out_of_fold(group) and not results["protocol"].get("shuffled_labels"):
            by_data[results["environment"]["digests"]["data"], *results["classes"]].append(group)
    return [Suspects(rows_of(same), folder_of(same[0])) for same in by_data.values()]


def folder_of(group: RunGroup) -> Path:
    """Return the folder of a group's images, as its runs had it."""
    return Path(group.runs[0].results["config"]["data"]["root"]).expanduser()


def out_of_fold(group: RunGroup) -> Sequence[Mapping[str, Any]]:
    """Return the joined rows of a complete cross-validation; none of others, or without probabilities."""
    rows = group.folds.joined.rows if group.folds and group.folds.joined else ()
    wanted = {f"probability/{name}" for name in group.runs[0].results.get("classes") or ("",)}
    return rows if rows and wanted <= rows[0].keys() else ()


def rows_of(groups: Sequence[RunGroup]) -> list[dict[str, Any]]:
    """Return the rows of the suspects of some cross-validations of the same images."""
    classes = [str(name) for name in groups[0].runs[0].results["classes"]]
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in (row for group in groups for row in out_of_fold(group)):
        found[row["path"]].append(row)
    paths = list(found)
    probabilities = np.array([mean_probabilities(found[path], classes) for path in paths])
    labels = np.array([int(found[path][0]["label"]) for path in paths])
    predicted = probabilities.argmax(axis=1)
    return [
        {
            "rank": rank,
            "path": paths[image],
            "label": classes[labels[image]],
            "predicted": classes[predicted[image]],
            "label_probability": round(float(probabilities[image, labels[image]]), 6),
            "predicted_probability": round(float(probabilities[image, predicted[image]]), 6),
            "cross_validations": len(found[paths[image]]),
        }
        for rank, image in enumerate(rank_label_suspects(probabilities, labels).tolist(), 1)
    ]


def mean_probabilities(rows: Iterable[Mapping[str, Any]], classes: Sequence[str]) -> list[float]:
    """Return the mean probability of each class over some rows of `predictions.csv`."""
    return [float(np.mean([float(row[f"probability/{name}"]) for row in rows])) for name in classes]


def suspect_table(suspects: Suspects) -> Table:
    """Return the first suspects, as many as have a picture."""
    headers = ("Rank", "Image", "Label", "Predicted", "Probability of the label", "Of the predicted class")
    rows = [
        (
            row["rank"], row["path"], row["label"], row["predicted"], f"{row['label_probability']:.3f}",
            f"{row['predicted_probability']:.3f}",
        )
        for row in suspects.rows[:SHOWN]
    ]  # fmt: skip
    shown = f"the first {SHOWN} of {len(suspects.rows)}" if len(suspects.rows) > SHOWN else "all"
    return make_table(f"Labels to review, {shown}", headers, rows)


def suspect_picture(suspects: Suspects) -> Picture | None:
    """Return the first suspects' pictures, rank and label below; None if one is no longer where the runs had it."""
    rows, root = suspects.rows[:SHOWN], suspects.root
    folders = [root, *root.glob("*"), *root.glob("*/*")]  # an index passes through folders around the classes
    base = next((folder for folder in folders if rows and (folder / rows[0]["path"]).is_file()), root)
    images = [thumbnail(base / row["path"]) for row in rows]
    if not images or any(image is None for image in images):
        return None
    names = [f"{row['rank']}: {row['label'].replace('_', ' ')}" for row in rows]
    return strip(np.stack([image for image in images if image is not None]), "the suspects", names=names)


def thumbnail(path: Path) -> Any:
    """Return a small grey image of a file, uint8 `(S, S)`; None if it can't be read."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    except (OSError, ValueError):
        return None
