"""Tables: results of one run or of many, for the terminal, beside the study's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from brain_tumor_tl.evidence.leakage import summary_lines
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


def class_table(results: Mapping[str, Any]) -> Table:
    """Return precision, recall and F1 of each class of one run, in percent."""
    note = " on SYNTHETIC images" if results["protocol"]["synthetic"] else ""
    table = Table(title=f"{results['name']}: test part{note}, percent")
    for column in ("class", "precision", "recall", "F1", "images"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, row in results["per_class"].items():
        table.add_row(name, *(percent(row[m]) for m in ("precision", "recall", "f1")), str(row["support"]))
    return table


def summary_table(runs: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row for each run: accuracy and best accuracy beside the study's, and seconds per epoch."""
    title = "Accuracy on the test part, percent; study = Kazemi 2023 after 100 epochs"
    if any(run["protocol"]["synthetic"] for run in runs):
        title = "Accuracy on the test part of SYNTHETIC images, percent; not to be compared with the study"
    table = Table(title=title, box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False)
    table.add_column("run", overflow="fold")  # the only one that a narrow terminal makes narrower
    for column in ("epochs", "accuracy", "best", "study", "diff.", "s/epoch"):
        table.add_column(column, justify="right", no_wrap=True)
    table.caption, table.caption_justify = "\n".join(summary_lines(runs)) or None, "left"
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
