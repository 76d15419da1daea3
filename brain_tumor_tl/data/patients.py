"""Patients: whose images they are, by the user's table or by the one that comes with the package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.splits.groups import Indices, numbers_of
from brain_tumor_tl.files import read_csv

AUTO = "auto"  # the value of `data.patients` that takes whatever is known
KAGGLE = Path(__file__).with_name("kaggle_patients.csv")  # kaggle_patients.md tells source, licence and limits
DIGITS = 16  # of a file's SHA-256 in that table


@dataclass(frozen=True, eq=False)
class Patients:
    """Whose images they are.

    Attributes:
        numbers: Number of each image's patient, `(N,)`; -1 if it is not known.
        source: Where that is from, in words.
    """

    numbers: Indices
    source: str

    def describe(self, test: Indices) -> str:
        """Return in words of how many images, and of how many at the positions `test`, the patient is known."""
        known = self.numbers >= 0
        tested = f"{known[test].sum()} of the {len(test)} test images"
        return f"known for {known.sum()} of {len(known)} images, {tested}, from {self.source}"


def recognised_patients(index: Index) -> list[str]:
    """Return the patient of each image that is in the package's table by its file's digest, "" for the others."""
    patients = {row["sha256"]: row["patient"] for row in read_csv(KAGGLE)}
    return [patients.get(digest[:DIGITS], "") for digest in index.digests]


def make_patients(names: Sequence[str], source: str, merge_scans: bool) -> Patients | None:
    """Return the patients of images by their names; None if no image has one.

    Args:
        names: Name of each image's patient, "" if it is not known.
        source: Where the names are from.
        merge_scans: Whether names that differ only in one last letter are one patient.
    """
    if not any(names):
        return None
    if merge_scans:
        merged = [without_last_letter(name) for name in names]
        before, after = (len(set(column) - {""}) for column in (names, merged))
        names = merged
        source += f"; {before} ids, of which those that differ only in a last letter are one patient: {after} patients"
    return Patients(numbers_of(names), source)


def without_last_letter(name: str) -> str:
    """Return a name without a letter that follows its last digit; figshare marks a patient's scans this way.

    >>> [without_last_letter(name) for name in ("MR017260B", "100360", "Ann")]
    ['MR017260', '100360', 'Ann']
    """
    return re.sub(r"(?<=\d)[A-Za-z]$", "", name)
