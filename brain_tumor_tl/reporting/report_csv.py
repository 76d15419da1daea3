"""Rows: every run as one row of a CSV file, finished or not, fractions in place of percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brain_tumor_tl.evaluation.intervals import recommended
from brain_tumor_tl.reporting.aggregate import Group
from brain_tumor_tl.reporting.discover import Run, Unfinished
from brain_tumor_tl.reporting.document import Report
from brain_tumor_tl.reporting.folds import fold_of

PLAIN = (
    "epochs", "accuracy", "best_accuracy", "best_epoch", "balanced_accuracy", "macro_f1", "loss", "seconds_total",
)  # fmt: skip
OF_THE_SPLIT = ("test_images", "identical_in_training", "copies_in_training", "nearest_neighbour")


def csv_rows(report: Report) -> list[dict[str, Any]]:
    """Return one row for each run: those of the groups in their order, then the others."""
    rows = [finished_row(report, group, run) for group in report.groups for run in group.runs]
    for run in report.again:
        rows.append({"name": run.results["name"], "folder": report.shown(run.folder), "state": "again"})
    return rows + [unfinished_row(report, run) for run in ordered(report.gathered.unfinished)]


def ordered(runs: Sequence[Unfinished]) -> list[Unfinished]:
    """Return runs sorted by state and name."""
    return sorted(runs, key=lambda run: (run.state, run.name))


def finished_row(report: Report, group: Group, run: Run) -> dict[str, Any]:
    """Return a finished run's row, the study's figures in it where they compare."""
    results = run.results
    row: dict[str, Any] = {
        "name": results["name"],
        "folder": report.shown(run.folder),
        "state": "done",
        "reason": "",
        **{key: results[key] for key in ("model", "method", "seed")},
        **group.differing,
        "fold": fold_of(results),
        **{key: results.get(key) for key in PLAIN},
        **interval_cells(results),
        **{key: results["protocol"].get(key) for key in OF_THE_SPLIT},
    }
    row |= {f"seconds_per_epoch_{part}": value for part, value in results["seconds_per_epoch"].items()}
    row |= {f"study_{key}": group.study.get(key) for key in ("accuracy", "best_accuracy", "seconds_per_epoch")}
    for name, metrics in (results.get("per_class") or {}).items():
        row |= {f"{metric}/{name}": value for metric, value in metrics.items()}
    return row | {"protocol": results["protocol"]["text"]}


def interval_cells(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ends of the accuracy's 95 % interval, and what it takes for independent."""
    interval, unit = recommended(results.get("intervals") or {})
    low, high = interval or (None, None)
    return {"accuracy_low": low, "accuracy_high": high, "interval_unit": unit if interval else None}


def unfinished_row(report: Report, run: Unfinished) -> dict[str, Any]:
    """Return the row of a run without results."""
    place = report.shown(run.folder)
    return {"name": run.name, "folder": place, "state": run.state, "reason": run.reason, "epochs": run.epochs}
