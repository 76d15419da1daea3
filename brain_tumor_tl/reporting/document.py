"""Document: the report of several runs, as one HTML page and as Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.classes import class_tables, classes_of, matrices, summed
from brain_tumor_tl.reporting.depth import depth_table, depths
from brain_tumor_tl.reporting.discover import RUN_PAGE, Discovered, Run, Unfinished, last_lines
from brain_tumor_tl.reporting.evaluations import Found, evaluation_table
from brain_tumor_tl.reporting.fold_table import fold_table
from brain_tumor_tl.reporting.folds import fold_of
from brain_tumor_tl.reporting.leaderboard import between, leaderboard, notes, with_std
from brain_tumor_tl.reporting.method_comparison import conclusion, method_table
from brain_tumor_tl.reporting.page import render
from brain_tumor_tl.reporting.protocol_text import summarize_splits
from brain_tumor_tl.reporting.report_pictures import depth_pictures, line_pictures, tradeoff_pictures
from brain_tumor_tl.reporting.significance import TEST_NOTE, ComparisonSet, comparison_line, comparison_table
from brain_tumor_tl.reporting.study import CITATION
from brain_tumor_tl.reporting.suspects import NOTE, Suspects, suspect_picture, suspect_table
from brain_tumor_tl.reporting.table import Table, make_table
from brain_tumor_tl.reporting.tables import unfinished_table
from brain_tumor_tl.reporting.trials import by_search, trial_table

MOST_IN_MATRIX = 50  # classes of a confusion matrix on the page
FAILED = ("failed", "unreadable", "missing")
SYNTHETIC = "SYNTHETIC images: the results say nothing about MRI and can't be compared with the study's."


@dataclass(frozen=True)
class Report:
    """What a report shows.

    Attributes:
        title: Title of the report.
        discovered: All runs.
        groups: The finished runs, grouped.
        repeated: Finished runs with the settings, seed and fold of another run; they are in no group.
        base: The folder that paths are relative to.
        comparisons: Significance tests between runs with the same test images.
        uncompared: Reasons why runs are not compared.
        suspects: Labels to review, of each data set with complete cross-validations.
        evaluations: What `evaluate` found of the finished runs.
        unevaluated: Reasons why evaluations are not shown.
    """

    title: str
    discovered: Discovered
    groups: Sequence[RunGroup]
    repeated: Sequence[Run]
    base: Path
    comparisons: Sequence[ComparisonSet] = ()
    uncompared: Sequence[str] = ()
    suspects: Sequence[Suspects] = ()
    evaluations: Sequence[Found] = ()
    unevaluated: Sequence[str] = ()

    @property
    def unfinished(self) -> list[Unfinished]:
        """The runs without results, by state and name."""
        return sorted(self.discovered.unfinished, key=lambda run: (run.state, run.name))

    def relative(self, path: Path) -> str:
        """Return a path relative to the report's base, unchanged if there is no relative one."""
        try:
            return os.path.relpath(path, self.base)
        except ValueError:
            return str(path)

    def warnings(self) -> list[str]:
        """Return what a reader has to know first."""
        found = [SYNTHETIC] if any(group.synthetic for group in self.groups) else []
        if self.repeated:
            names = ", ".join(self.relative(run.folder) for run in self.repeated)
            found.append(f"Left out, because another run has the same settings and seed (and fold): {names}.")
        return found


class Matrix(NamedTuple):
    """The confusion matrix of a group, summed over its runs.

    Attributes:
        caption: Its caption.
        names: Name of each class.
        counts: Row = true class; None if the runs have none.
        largest: Lines on its largest confusions, which take its place if it is too large for a page.
    """

    caption: str
    names: list[str]
    counts: list[list[int]] | None
    largest: Sequence[str] = ()


def as_html(report: Report) -> str:
    """Return the report as one self-contained page."""
    pictures = {
        "matrices": matrices_by_method(report.groups),
        "table_1": page_leaderboard(report) if report.groups else None,
        "tradeoff": tradeoff_pictures(report.groups),
        "lines": line_pictures(report.groups),
        "depth_pictures": depth_pictures(report.groups),
        "suspect_pictures": [suspect_picture(each) for each in report.suspects],
    }
    return render("report.html.j2", **content(report), **pictures)


def as_markdown(report: Report) -> str:
    """Return the report in Markdown: its tables, without pictures."""
    return re.sub(r"\n{3,}", "\n\n", render("report.md.j2", **content(report))).strip() + "\n"


def content(report: Report) -> dict[str, Any]:
    """Return what the templates of both formats show."""
    groups = report.groups
    found: dict[str, Any] = {
        "report": report,
        "title": report.title,
        "subtitle": report.discovered.state(),
        "failed": sorted(f"{run.name} ({run.state})" for run in report.unfinished if run.state in FAILED),
        "trials": [trial_table(trials) for trials in by_search(report.discovered.runs)],
        "unfinished": unfinished_table(report.unfinished, report.relative),
        "logs": {run.name: last_lines(run.log) for run in report.unfinished if run.state == "failed"},
    }
    if not groups:
        return found
    results = [run.results for group in groups for run in group.runs]
    return found | {
        "findings": [
            highest_accuracy(groups),
            *map(comparison_line, report.comparisons[:1]),
            *conclusion(groups, report.comparisons),
        ],
        "splits": summarize_splits(results),
        "compared": any(group.study for group in groups),
        "leaderboard": leaderboard(groups),
        "notes": notes(groups),
        "evaluations": evaluation_table(report.evaluations) if report.evaluations else None,
        "folds": fold_table(groups),
        "depths": [depth_table(found) for found in depths(groups).values()],
        "suspects": [suspect_table(each) for each in report.suspects],
        "suspects_note": NOTE,
        "methods": method_table(groups, report.comparisons) if conclusion(groups) else None,
        "comparison_method": TEST_NOTE,
        "comparisons": [(comparison_line(each), comparison_table(each)) for each in report.comparisons],
        "classes": class_tables(groups),
        "predictions": prediction_files(report),
        "protocols": list(dict.fromkeys(each["protocol"]["text"] for each in results)),
        "environment": environment_table([each.get("environment") or {} for each in results]),
        "citation": CITATION,
    }


def highest_accuracy(groups: Sequence[RunGroup]) -> str:
    """Return a sentence on the group with the highest accuracy."""
    first = max(groups, key=lambda group: group.accuracy.mean)
    settings = f" with {first.label}" if first.label else ""
    runs = f", mean of {len(first.runs)} runs" if len(first.runs) > 1 else ""
    if first.folds:
        runs = f", {first.repeats}{' joined' if first.folds.joined else ''}"
    elif first.interval[0]:
        runs = f" (95 % interval {between(first.interval[0])})"
    accuracy = with_std(first.accuracy)
    return f"Highest accuracy on the test split: {first.model}, {first.method}{settings}: {accuracy} %{runs}."


def prediction_files(report: Report) -> list[str]:
    """Return the paths of the `predictions.csv` of all runs, relative to the report's base."""
    paths = [run.folder / "predictions.csv" for group in report.groups for run in group.runs]
    return [Path(report.relative(path)).as_posix() for path in paths if path.is_file()]


def environment_table(environments: Sequence[dict[str, Any]]) -> Table:
    """Return the machines and versions of the runs, each value once."""
    values: dict[str, list[str]] = {key: [] for key in ("device", "precision", "git_commit", "system", "packages")}
    for environment in environments:
        packages = environment.get("packages") or {}
        versions = ", ".join(f"{name} {version}" for name, version in packages.items() if version)
        for key, found in values.items():
            value = versions if key == "packages" else environment.get(key)
            if value and str(value) not in found:
                found.append(str(value))
    rows = [(key.replace("git_", ""), "; ".join(found)) for key, found in values.items() if found]
    return make_table("", ("of the runs", ""), rows)


def matrices_by_method(groups: Sequence[RunGroup]) -> dict[str, dict[str, list[Matrix]]]:
    """Return the confusion matrices by network and method; an empty list for a method without finished runs."""
    methods = dict.fromkeys(group.method for group in groups)
    found: dict[str, dict[str, list[Matrix]]] = {}
    for group in groups:
        found.setdefault(group.model, {method: [] for method in methods})[group.method].append(matrix_of(group))
    return found


def matrix_of(group: RunGroup) -> Matrix:
    """Return a group's confusion matrix."""
    count = len(matrices(group))
    summed_over = f"sum of {count} {'folds' if group.folds else 'runs'}" if count > 1 else ""
    caption = ", ".join(part for part in (group.method, group.label, summed_over) if part)
    names, total = [name.replace("_", " ") for name in classes_of(group)], summed(group)
    if total is None or len(names) <= MOST_IN_MATRIX:
        return Matrix(caption, names, total)
    from brain_tumor_tl.reporting.plots import largest_confusions  # matplotlib is slow to import

    return Matrix(caption, names, total, largest_confusions(np.array(total), names))


def page_leaderboard(report: Report) -> Table:
    """Return Table 1 for the page: each row leads to its runs, and sets of settings stand below, for want of width."""
    table = replace(leaderboard(report.groups), links=page_links(report, report.groups))
    if not {"set", "settings"} <= set(table.headers):
        return table
    shown = [place for place, header in enumerate(table.headers) if header != "settings"]
    legend = sorted({(group.number, group.label) for group in report.groups})
    return replace(
        table,
        headers=tuple(table.headers[place] for place in shown),
        rows=tuple(tuple(row[place] for place in shown) for row in table.rows),
        notes=(*table.notes, *(f"Set {number}: {label}" for number, label in legend)),
    )


def page_links(report: Report, groups: Sequence[RunGroup]) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return the name and the address of each run's page, or of its folder if it has none, for each group."""

    def link(run: Run, group: RunGroup) -> tuple[str, str]:
        page = run.folder / RUN_PAGE
        address = quote(Path(report.relative(page if page.is_file() else run.folder)).as_posix())
        several = f"seed {run.results['seed']}" if not group.folds else f"fold {fold_of(run.results)}"
        return several if len(group.runs) > 1 else "run", address if "/" in address else f"./{address}"

    return tuple(tuple(link(run, group) for run in group.runs) for group in groups)
