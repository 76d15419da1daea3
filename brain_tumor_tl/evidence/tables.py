"""Tables: results of one run or of many, for the terminal, beside the study's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from brain_tumor_tl.evidence.study import row_for


def percent(fraction: float | None) -> str:
    """Return a fraction as percent with two digits, a dash for None.

    >>> percent(0.8897)
    '88.97'
    """
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def beside(ours: float | None, study: float | None) -> str:
    """Return our fraction's difference from the study's in percentage points, a dash where either is missing.

    >>> beside(0.90, 0.8897)
    '+1.03'
    """
    return "-" if ours is None or study is None else f"{100 * (ours - study):+.2f}"


def between(interval: Sequence[float] | None) -> str:
    """Return an interval of fractions as percent, a dash for None.

    >>> between([0.87846, 0.92391])
    '87.85 to 92.39'
    """
    return "-" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def class_table(results: Mapping[str, Any]) -> Table:
    """Return precision, recall and F1 of each class of one run, in percent, and below them the run's headline."""
    note = " on SYNTHETIC images" if results["protocol"]["synthetic"] else ""
    intervals = results.get("intervals", {}).get("per_class", {})
    table = Table(
        title=f"{results['name']}: test part{note}, percent", caption=headline(results), caption_justify="left"
    )
    for column in ("class", "precision", "recall", *(["95 %"] if intervals else []), "F1", "images"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, row in results["per_class"].items():
        recall = [percent(row["recall"]), *([between(intervals[name]["recall"])] if intervals else [])]
        table.add_row(name, percent(row["precision"]), *recall, percent(row["f1"]), str(row["support"]))
    return table


def headline(results: Mapping[str, Any]) -> str | None:
    """Return accuracy with its interval, and what the probabilities are worth; None of a run that has neither."""
    intervals, probabilities = results.get("intervals"), results.get("probabilities")
    if not intervals or not probabilities:
        return None
    lines = [f"accuracy {percent(results['accuracy'])}, 95 % interval {between(intervals['accuracy'])} (Wilson)"]
    if intervals["unit"] == "group":
        by_group = between(intervals["accuracy_bootstrap"])
        lines.append(f"over {intervals['units']} groups of copies {by_group} (bootstrap)")
    error = percent(probabilities["calibration_error"])
    if probabilities["temperature"] is not None:
        after = percent(probabilities["calibrated"]["calibration_error"])
        error += f", {after} at temperature {probabilities['temperature']:.2f} (fitted on val)"
    lines += [f"AUROC {percent(probabilities['auroc'])} (one against rest, mean)", f"calibration error {error}"]
    if intervals["absent"]:
        lines.append(f"no test image of {', '.join(intervals['absent'])}")
    return "\n".join(lines)


def summary_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row for each run: accuracy and best accuracy beside the study's, and seconds per epoch."""
    title = "Accuracy on the test part, percent; study = Kazemi 2023 after 100 epochs"
    if any(run["protocol"]["synthetic"] for run in runs):
        title = "Accuracy on the test part of SYNTHETIC images, percent; not to be compared with the study"
    table = Table(title=title, box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    table.add_column("run", overflow="fold")  # the only one that a narrow terminal makes narrower
    for column in ("epochs", "accuracy", "best", "study", "diff.", "s/epoch"):
        table.add_column(column, justify="right", no_wrap=True)
    for run in sorted(runs, key=lambda r: (r["model"], r["method"], r["seed"], r["name"])):
        table.add_row(*summary_row(run))
    return table


def summary_row(run: Mapping[str, Any]) -> list[str]:
    """Return a run's row of `summary_table`; the study's columns are dashes for synthetic images."""
    study = (None if run["protocol"]["synthetic"] else row_for(run["model"], run["method"])) or {}
    seconds = run["seconds_per_epoch"]["train"]
    return [
        run["name"],
        str(run["epochs"]),
        percent(run["accuracy"]),
        percent(run["best_accuracy"] if run["protocol"]["best_chosen_on"] == "test" else None),
        percent(study.get("accuracy")),
        beside(run["accuracy"], study.get("accuracy")),
        "-" if seconds is None else f"{seconds:.2f}",
    ]
