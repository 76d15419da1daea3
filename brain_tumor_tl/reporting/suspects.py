"""Suspects: pictures whose label finished cross-validations contradict, as a list to review."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from brain_tumor_tl.evaluation.suspects import rank_label_suspects
from brain_tumor_tl.files import read_csv
from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.page import Picture
from brain_tumor_tl.reporting.strip import strip
from brain_tumor_tl.reporting.table import Table, make_table

COLUMNS = ("rank", "path", "label", "predicted", "label_probability", "predicted_probability", "cross_validations")
SHOWN = 48  # pictures on the page
SIZE = 128  # pixels of a picture
NOTE = (
    "The pictures whose label is contradicted most by models that were not trained on them, for review. The labels "
    "share the list in proportion to their images, each with its most contradicted pictures first, so that a hard "
    "class doesn't fill it. Known copies of a picture with the same label have one rank. Most of these pictures are "
    "hard and their labels right: the length of the list says nothing about the number of wrong labels."
)


class Suspects(NamedTuple):
    """The suspects of the cross-validations of one data set.

    Attributes:
        rows: A row for each file, with `COLUMNS`, the most contradicted first; copies of a picture share a rank.
        root: Folder of the images, as the runs have it.
    """

    rows: list[dict[str, Any]]
    root: Path

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The first file of each of the first pictures, as many as the page shows."""
        pictures: dict[int, dict[str, Any]] = {}
        for row in self.rows:
            pictures.setdefault(row["rank"], row)
        return list(pictures.values())[:SHOWN]


def find_suspects(groups: Sequence[RunGroup]) -> list[Suspects]:
    """Return the suspects of each data set with complete cross-validations, by the mean of their probabilities."""
    by_data: dict[tuple[Any, ...], list[RunGroup]] = defaultdict(list)
    for group in groups:
        results, images = group.runs[0].results, group.settings.get("images")
        if images and out_of_fold(group) and not results["protocol"].get("shuffled_labels"):
            by_data[images, *results["classes"]].append(group)
    return [
        Suspects(suspect_rows(same), Path(same[0].runs[0].results["config"]["data"]["root"]).expanduser())
        for same in by_data.values()
    ]


def out_of_fold(group: RunGroup) -> Sequence[Mapping[str, Any]]:
    """Return the joined rows of a complete cross-validation; none of others, or without probabilities."""
    rows = group.folds.joined.rows if group.folds and group.folds.joined else ()
    wanted = {f"probability/{name}" for name in group.runs[0].results.get("classes") or ("",)}
    return rows if rows and wanted <= rows[0].keys() else ()


def suspect_rows(groups: Sequence[RunGroup]) -> list[dict[str, Any]]:
    """Return the rows of the suspects of some cross-validations of the same images."""
    classes, copies = [str(name) for name in groups[0].runs[0].results["classes"]], known_copies(groups)
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)  # by picture and label
    for row in (row for group in groups for row in out_of_fold(group)):
        found[copies.get(row["path"], row["path"]), int(row["label"])].append(row)
    predictions, labels = list(found.values()), np.array([label for _, label in found])
    probabilities = np.array([mean_probabilities(rows, classes) for rows in predictions])
    predicted = probabilities.argmax(axis=1)
    return [
        {
            "rank": rank,
            "path": path,
            "label": classes[labels[picture]],
            "predicted": classes[predicted[picture]],
            "label_probability": round(float(probabilities[picture, labels[picture]]), 6),
            "predicted_probability": round(float(probabilities[picture, predicted[picture]]), 6),
            "cross_validations": count,
        }
        for rank, picture in enumerate(rank_label_suspects(probabilities, labels).tolist(), 1)
        for path, count in Counter(row["path"] for row in predictions[picture]).items()
    ]


def known_copies(groups: Sequence[RunGroup]) -> Mapping[str, str]:
    """Return each image's group of copies, from the cross-validation that found most copies; empty if none did."""
    tables = [read_csv(group.runs[0].folder / "split.csv") for group in groups]
    whole = [rows for rows in tables if rows and rows[0].keys() >= {"path", "copies"}]
    known = [{row["path"]: row["copies"] for row in rows} for rows in whole]
    return min(known, key=lambda copies: len(set(copies.values())), default={})


def mean_probabilities(rows: Iterable[Mapping[str, Any]], classes: Sequence[str]) -> list[float]:
    """Return the mean probability of each class over some rows of `predictions.csv`."""
    return [float(np.mean([float(row[f"probability/{name}"]) for row in rows])) for name in classes]


def suspect_table(suspects: Suspects) -> Table:
    """Return the first suspects; it doesn't say how many there are, which would be read as a count of wrong labels."""
    headers = ("Rank", "Image", "Files", "Label", "Predicted", "Probability of the label", "Of the predicted class")
    files = Counter(row["rank"] for row in suspects.rows)
    rows = [
        (
            row["rank"], row["path"], files[row["rank"]], row["label"], row["predicted"],
            f"{row['label_probability']:.3f}", f"{row['predicted_probability']:.3f}",
        )
        for row in suspects.shown
    ]  # fmt: skip
    return make_table("Labels to review, the most contradicted first", headers, rows)


def suspect_picture(suspects: Suspects) -> Picture | None:
    """Return the first suspects' pictures, rank and label below; None if one is no longer where the runs had it."""
    rows, root = suspects.shown, suspects.root
    folders = chain([root], root.glob("*/"), root.glob("*/*/"))  # an index passes through folders around the classes
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
