"""Significance: which runs on the same test images are not significantly different from the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from brain_tumor_tl.evaluation.comparison import compare_with_best
from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.leaderboard import p_text, percent
from brain_tumor_tl.reporting.predictions import Rows, common_hits, read_predictions, read_units
from brain_tumor_tl.reporting.table import Table, compact_table

FEW = 3  # names on a line of the terminal
TEST_NOTE = (
    "Each pair is compared image by image with an exact test (McNemar's, or an exchange test of whole patients and "
    "groups of copies where these are known); p-values are Holm-corrected for all pairs of a table, at a level of 5 %. "
    "Not significantly different doesn't mean equal."
)
Entry = tuple[RunGroup, Run, Rows]


@dataclass(frozen=True)
class ComparedRun:
    """A run, or all folds of one cross-validation, compared with others on the same test images.

    Attributes:
        group: The group of the run.
        run: The run; for folds the first.
        accuracy: On these images.
        p_value: Of the difference from the best, corrected; None for the best itself.
        tied_with_best: Whether it is not significantly different from the best.
        p_values: Of the difference from each other run, corrected, by that run's folder.
    """

    group: RunGroup
    run: Run
    accuracy: float
    p_value: float | None
    tied_with_best: bool
    p_values: Mapping[str, float]

    @property
    def name(self) -> str:
        """Network, method, and the number of its settings if groups differ in them."""
        number = f" set {self.group.number}" if self.group.number else ""
        return f"{self.group.model} {self.group.method}{number}"


@dataclass(frozen=True)
class ComparisonSet:
    """Runs on the same test images, the best first.

    Attributes:
        runs: Two or more, of at least two groups.
        images: Number of test images.
    """

    runs: tuple[ComparedRun, ...]
    images: int

    @property
    def seeds(self) -> list[str]:
        """The seeds of the runs."""
        return [str(seed) for seed in sorted({one.run.results["seed"] for one in self.runs})]


def comparison_sets(groups: Sequence[RunGroup]) -> tuple[list[ComparisonSet], list[str]]:
    """Return the sets of runs on the same test images, and why runs with predictions are in none.

    Runs of a single group are no set, since seeds don't compete. Of an incomplete cross-validation no fold is compared:
    each would be a small test set of its own.
    """
    found: dict[frozenset[tuple[str, str]], list[Entry]] = {}
    problems = []
    for group in groups:
        for run in group.runs[:1] if group.folds else group.runs:
            try:
                table = predictions_of(group, run)
            except ValueError as error:
                problems.append(f"Not compared: {run.results['name']}: {error}")
                continue
            if table:
                truth = frozenset((path, row["label"]) for path, row in table.items())
                found.setdefault(truth, []).append((group, run, table))
    several = [entries for entries in found.values() if len({id(group) for group, _, _ in entries}) > 1]
    return [compare_set(entries) for entries in several], problems


def predictions_of(group: RunGroup, run: Run) -> Rows:
    """Return the predictions of a run, or of all folds of its cross-validation; empty if it has none.

    Raises:
        ValueError: They can't be read.
    """
    if group.folds:
        joined = group.folds.joined
        return {str(row["path"]): {key: str(row[key]) for key in row} for row in joined.rows} if joined else {}
    return read_predictions(run.folder) if (run.folder / "predictions.csv").is_file() else {}


def compare_set(entries: Sequence[Entry]) -> ComparisonSet:
    """Return runs on the same test images, each compared with the best of them."""
    paths, hits = common_hits({run.folder: table for _, run, table in entries})
    try:
        groups, _ = read_units(entries[0][1].folder, paths)
    except ValueError:  # without split.csv the images are taken as independent
        groups = None
    names = [str(run.folder) for _, run, _ in entries]
    verdicts = compare_with_best(dict(zip(names, hits, strict=True)), groups).values()
    runs = [
        ComparedRun(group, run, row["accuracy"], row["p_value"], row["tied_with_best"], row["p_values"])
        for (group, run, _), row in zip(entries, verdicts, strict=True)
    ]
    ranked = sorted(runs, key=lambda one: (-one.accuracy, one.p_value is not None, not one.tied_with_best))
    return ComparisonSet(tuple(ranked), len(paths))


def comparison_table(compared: ComparisonSet) -> Table:
    """Return a row for each run: its accuracy on the common images, and how it compares with the best."""
    headers = ("network", "method", "settings", "seed", "accuracy", "p, corrected", "against the highest")
    rows = [
        (
            *(one.group.model, one.group.method, one.group.label),
            str(one.run.results["seed"]) if len(compared.seeds) > 1 else "",
            *(percent(one.accuracy), p_text(one.p_value), verdict(one)),
        )
        for one in compared.runs
    ]
    protocol = compared.runs[0].run.results["protocol"]
    split = str(protocol.get("title", f"{protocol.get('split', 'unknown')} split")).partition(", fold ")[0]
    title = f"{split}, seed {', '.join(compared.seeds)}: {len(rows)} runs on the same {compared.images} test images"
    return compact_table(title, headers, rows)


def verdict(one: ComparedRun) -> str:
    """Return how a run compares with the one of the highest accuracy, which needn't be better than it."""
    if one.p_value is None:
        return "the highest"
    return "not significantly different" if one.tied_with_best else "significantly lower"


def comparison_line(compared: ComparisonSet) -> str:
    """Return in one line which runs are not significantly different from the best."""
    best, *others = compared.runs
    tied = [one.name for one in others if one.tied_with_best]
    split = best.run.results["protocol"].get("split", "unknown")
    setting = f"{split} split, seed {', '.join(compared.seeds)}, {compared.images} images"
    line = f"{setting}: highest {best.name} ({percent(best.accuracy)} %), "
    if len(others) == 1:
        verdict_in_words = "not significantly different from" if tied else "significantly better than"
        return f"{line}{verdict_in_words} {others[0].name} (5 %)"
    if not tied:
        return f"{line}significantly better than all {len(others)} others (Holm, 5 %)"
    names = ", ".join(tied[:FEW]) + (f" and {len(tied) - FEW} more" if len(tied) > FEW else "")
    return f"{line}not significantly different from {len(tied)} of {len(others)} others (Holm, 5 %): {names}"
