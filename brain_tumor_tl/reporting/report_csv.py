"""Report CSV: a row for each run, finished or not, with fractions instead of percent."""

from __future__ import annotations

from typing import Any

from brain_tumor_tl.evaluation.intervals import recommended
from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.document import Report
from brain_tumor_tl.reporting.folds import fold_of
from brain_tumor_tl.reporting.trials import by_search

METRICS = (
    "epochs", "accuracy", "best_accuracy", "best_epoch", "balanced_accuracy", "macro_f1", "loss", "seconds_total",
)  # fmt: skip
PROTOCOL = (
    "test_images", "identical_in_training", "copies_in_training", "copies_searched", "patients_in_training",
    "known_patients", "nearest_neighbour",
)  # fmt: skip


def csv_rows(report: Report) -> list[dict[str, Any]]:
    """Return a row for each run: the groups in their order, repeated runs, runs without results."""
    rows = [finished_row(report, group, run) for group in report.groups for run in group.runs]
    for trials in by_search(report.discovered.runs):
        for run in trials[1:]:
            trial = run.results["trial"]
            about = {"state": "trial", "epochs": run.results["epochs"], trial["metric"]: trial["value"]}
            rows.append({"name": run.results["name"], "folder": report.relative(run.folder), **about})
    for run in report.repeated:
        rows.append({"name": run.results["name"], "folder": report.relative(run.folder), "state": "again"})
    for other in report.unfinished:
        about = {"state": other.state, "reason": other.reason, "epochs": other.epochs}
        rows.append({"name": other.name, "folder": report.relative(other.folder), **about})
    return rows


def finished_row(report: Report, group: RunGroup, run: Run) -> dict[str, Any]:
    """Return the row of a finished run, with the study's results if they can be compared."""
    results = run.results
    interval, unit = recommended(results.get("intervals") or {})
    row: dict[str, Any] = {
        "name": results["name"],
        "folder": report.relative(run.folder),
        "state": "done",
        "reason": "",
        **({trial["metric"]: trial["value"]} if (trial := results.get("trial")) else {}),
        **{key: results[key] for key in ("model", "method", "seed")},
        **group.differing,
        "fold": fold_of(results),
        **{key: results.get(key) for key in METRICS},
        "classes_in_means": len(present) if (present := results.get("classes_in_means")) is not None else None,
        **dict(zip(("accuracy_low", "accuracy_high"), interval or (None, None), strict=True)),
        "interval_unit": unit if interval else None,
        **{key: results["protocol"].get(key) for key in PROTOCOL},
    }
    row |= {f"seconds_per_epoch_{split_name}": value for split_name, value in results["seconds_per_epoch"].items()}
    row |= {f"study_{key}": group.study.get(key) for key in ("accuracy", "best_accuracy", "seconds_per_epoch")}
    for name, metrics in (results.get("per_class") or {}).items():
        row |= {f"{metric}/{name}": value for metric, value in metrics.items()}
    return row | {"protocol": results["protocol"]["text"]}
