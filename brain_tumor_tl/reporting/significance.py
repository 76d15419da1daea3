"""Contenders: runs on the same test images, and which of them can't be told apart from the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brain_tumor_tl.reporting.aggregate import Group
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.leaderboard import DASH, percent
from brain_tumor_tl.reporting.predictions import Rows, compare_set, read_groups, read_predictions, sets_of_tables
from brain_tumor_tl.reporting.table import Table

FEW = 3  # names on a line of the terminal
METHOD = (
    "Image by image, each pair by an exact test (McNemar's, or by whole groups of copies where these are known), the "
    "p-values corrected by Holm for all pairs of a table at the level of 5 %. Not to be told apart is no proof of "
    "being alike."
)


@dataclass(frozen=True)
class Contender:
    """A run, or all folds of one cross-validation, beside others on the same test images.

    Attributes:
        group: Whose it is.
        run: Its run; of folds the first.
        accuracy: On these images.
        p_value: Of being as good as the best, corrected; None for the best itself.
        tied_with_best: Whether it can't be told apart from the best.
    """

    group: Group
    run: Run
    accuracy: float
    p_value: float | None
    tied_with_best: bool

    @property
    def name(self) -> str:
        """Network, method, and the number of the settings where other groups have others."""
        number = f" set {self.group.number}" if self.group.number else ""
        return f"{self.group.model} {self.group.method}{number}"


@dataclass(frozen=True)
class Field:
    """Contenders on the same images, the best first.

    Attributes:
        contenders: Two or more, of more than one group.
        images: Number of test images.
    """

    contenders: tuple[Contender, ...]
    images: int

    @property
    def label(self) -> str:
        """What their split has in common."""
        protocol = self.contenders[0].run.results["protocol"]
        split = str(protocol.get("title", f"{protocol.get('split', 'unknown')} split")).partition(", fold ")[0]
        return f"{split}, {self.seeds}"

    @property
    def seeds(self) -> str:
        """The seeds of the runs."""
        seeds = sorted({contender.run.results["seed"] for contender in self.contenders})
        return f"seed {', '.join(map(str, seeds))}"


def fields_of(groups: Sequence[Group]) -> tuple[list[Field], list[str]]:
    """Return the runs on the same test images, set by set, and why runs are in none though they should be.

    Runs of one group alone are no field: seeds don't compete.
    """
    owners: dict[Path, tuple[Group, Run]] = {}
    tables: dict[Path, Rows] = {}
    problems = []
    for group in groups:
        for run in group.runs[:1] if group.folds and group.folds.joined else group.runs:
            try:
                if table := predictions_of(group, run):
                    owners[run.folder], tables[run.folder] = (group, run), table
            except ValueError as error:
                problems.append(f"Not compared: {run.results['name']}: {error}")
    found = []
    for folders in sets_of_tables(tables):
        if len({id(owners[folder][0]) for folder in folders}) > 1:
            own = {folder: tables[folder] for folder in folders}
            rows = compare_set(own, groups_in(folders[0]))
            found.append(make_field(rows, owners, len(tables[folders[0]])))
    return found, problems


def predictions_of(group: Group, run: Run) -> Rows:
    """Return the predictions of a run, or of all folds of its cross-validation; empty where it has none.

    Folds that are not all there are not compared: each would be a small test of its own.

    Raises:
        ValueError: They can't be read.
    """
    if group.folds:
        joined = group.folds.joined
        return {str(row["path"]): {key: str(row[key]) for key in row} for row in joined.rows} if joined else {}
    return read_predictions(run.folder) if (run.folder / "predictions.csv").is_file() else {}


def groups_in(folder: Path) -> dict[str, str]:
    """Return the group of each image by path, empty where the run's folder doesn't tell."""
    try:
        return read_groups(folder)
    except ValueError:
        return {}


def make_field(rows: Mapping[Path, Mapping[str, Any]], owners: Mapping[Path, tuple[Group, Run]], images: int) -> Field:
    """Return compared runs as a field."""
    contenders = [
        Contender(*owners[folder], row["accuracy"], row["p_value"], row["tied_with_best"])
        for folder, row in rows.items()
    ]
    ranked = sorted(contenders, key=lambda one: (-one.accuracy, one.p_value is not None, not one.tied_with_best))
    return Field(tuple(ranked), images)


def field_table(field: Field) -> Table:
    """Return a row for each contender: its accuracy on the common images, and how it stands to the best."""
    several_seeds = len({contender.run.results["seed"] for contender in field.contenders}) > 1
    several = any(contender.group.number for contender in field.contenders)
    names = ["network", "method", *(["settings"] if several else []), *(["seed"] if several_seeds else [])]
    rows = []
    for one in field.contenders:
        cells = [one.group.model, one.group.method, *([one.group.label] if several else [])]
        cells += [str(one.run.results["seed"])] if several_seeds else []
        rows.append((*cells, percent(one.accuracy), p_text(one.p_value), verdict(one)))
    title = f"{field.label}: {len(field.contenders)} runs on the same {field.images} test images"
    return Table(title, (*names, "accuracy", "p, corrected", "beside the best"), tuple(rows))


def p_text(value: float | None) -> str:
    """Return a p-value with three digits.

    >>> p_text(0.0312), p_text(0.00001), p_text(None)
    ('0.031', '< 0.001', '-')
    """
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def verdict(one: Contender) -> str:
    """Return how a contender stands to the best."""
    if one.p_value is None:
        return "the best"
    return "can't be told apart" if one.tied_with_best else "worse"


def field_line(field: Field) -> str:
    """Return in one line which contenders can't be told apart from the best."""
    best, *others = field.contenders
    alike = [one.name for one in others if one.tied_with_best]
    how = field.contenders[0].run.results["protocol"].get("split", "unknown")
    told = f"{how} split, {field.seeds}, {field.images} images: best {best.name} ({percent(best.accuracy)} %), "
    if not alike:
        return f"{told}better than {'the other' if len(others) == 1 else f'all {len(others)} others'} (Holm, 5 %)"
    named = ", ".join(alike[:FEW]) + (f" and {len(alike) - FEW} more" if len(alike) > FEW else "")
    return f"{told}not told apart from {len(alike)} of {len(others)} others (Holm, 5 %): {named}"
