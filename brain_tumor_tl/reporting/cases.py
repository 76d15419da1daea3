"""Cases: the test images that a page shows, worst errors first, and pictures that are filed under several labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from brain_tumor_tl.reporting.page import Picture
from brain_tumor_tl.reporting.run_files import PROBABILITY, RunFiles

WRONG, RIGHT = 12, 6  # how many of each a page shows
Rows = Sequence[Mapping[str, str]]


class Case(NamedTuple):
    """A test image and what the run says about it.

    Attributes:
        path: Its file.
        truth: Its class.
        predicted: The predicted class.
        probability: That of the predicted class.
        of_truth: The probability of its class.
        other_labels: Other classes that copies of it are filed under.
        trained: Whether a copy of it is in the training split; None if copies were not searched for.
    """

    path: str
    truth: str
    predicted: str
    probability: float
    of_truth: float
    other_labels: tuple[str, ...] = ()
    trained: bool | None = None

    @property
    def loss(self) -> float:
        """Its log loss."""
        return -math.log(self.of_truth) if self.of_truth > 0 else math.inf


class Gallery(NamedTuple):
    """Cases with their pictures.

    Attributes:
        wrong: Errors, the highest loss first.
        right: Correct predictions, the most confident first.
        total: Number of all errors.
        pictures: Of each case by its path: the image, and maps.
        missing: Why there are no pictures or no maps, empty if there are both.
    """

    wrong: Sequence[Case]
    right: Sequence[Case]
    total: int
    pictures: Mapping[str, Sequence[Picture]]
    missing: str = ""


def cases_of(files: RunFiles) -> list[Case]:
    """Return a case for each test image, none if the run has no probabilities."""
    if files.probabilities is None:
        return []
    copies = copies_by_path(files.split)
    return [case_of(row, copies) for row in files.predictions]


def case_of(row: Mapping[str, str], copies: Mapping[str, Rows]) -> Case:
    """Return the case of a row of predictions.csv.

    Args:
        row: The row.
        copies: The rows of split.csv of each image's copies, by its path; it is one of them itself.
    """
    same = copies.get(row["path"])
    others = dict.fromkeys(each["class"] for each in same or () if each["class"] != row["class"])
    return Case(
        row["path"],
        row["class"],
        row["predicted"],
        float(row[PROBABILITY + row["predicted"]]),
        float(row[PROBABILITY + row["class"]]),
        tuple(others),
        None if same is None else any(each["split"] == "train" for each in same),
    )


def choose(cases: Sequence[Case]) -> Gallery:
    """Return the errors and the correct predictions to show, without pictures.

    The errors are those with the highest loss, and all whose picture is filed under another label too, since it is then
    the label that may be wrong.
    """
    ranked = sorted((case for case in cases if case.truth != case.predicted), key=lambda case: -case.loss)
    wrong = [*ranked[:WRONG], *(case for case in ranked[WRONG:] if case.other_labels)]
    right = sorted((case for case in cases if case.truth == case.predicted), key=lambda case: -case.probability)
    return Gallery(wrong[: 2 * WRONG], right[:RIGHT], len(ranked), {})


def copies_by_path(split: Rows) -> dict[str, Rows]:
    """Return the rows of each image's copies, itself included, by its path; empty if copies were not searched for."""
    groups: dict[str, list[Mapping[str, str]]] = {}
    for row in split:
        if row.get("copies"):
            groups.setdefault(row["copies"], []).append(row)
    return {row["path"]: rows for rows in groups.values() for row in rows}


def several_labels(split: Rows) -> list[Rows] | None:
    """Return the rows of each picture that is filed under several labels; None if copies were not searched for."""
    copies = copies_by_path(split)
    if not copies:
        return None
    distinct = {rows[0]["copies"]: rows for rows in copies.values()}
    return [rows for rows in distinct.values() if len(Counter(row["class"] for row in rows)) > 1]
