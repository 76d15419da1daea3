"""Tables: what a run and a report print on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from brain_tumor_tl.reporting.aggregate import Group, group_runs
from brain_tumor_tl.reporting.discover import Run, Unfinished
from brain_tumor_tl.reporting.leaderboard import between, fold_notes, interval_notes, leaderboard, percent
from brain_tumor_tl.reporting.protocol_text import summary_lines
from brain_tumor_tl.reporting.table import Table, for_terminal


def class_table(results: Mapping[str, Any]) -> RichTable:
    """Return precision, recall and F1 of each class of one run, in percent, and below them the run's headline."""
    note = " on SYNTHETIC images" if results["protocol"]["synthetic"] else ""
    intervals = results.get("intervals", {}).get("per_class", {})
    table = RichTable(
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


def summary_table(groups: Sequence[Group]) -> RichTable:
    """Return the leaderboard in at most 80 columns, and below it what test and training parts have in common."""
    table = leaderboard(groups, narrow=True)
    lines = [*table.notes, *fold_notes(groups)[1:], *interval_notes(groups), *splits_of(groups)]
    return for_terminal(replace(table, notes=tuple(lines)))


def splits_of(groups: Sequence[Group]) -> list[str]:
    """Return a line for each kind of split: what its test and training parts have in common."""
    return summary_lines([run.results for group in groups for run in group.runs])


def summary_of(results: Mapping[str, Any]) -> RichTable:
    """Return the leaderboard of one run alone."""
    groups, _ = group_runs([Run(Path(), results)], lambda _: {})
    return summary_table(groups)


def unfinished_table(runs: Sequence[Unfinished], shown: Callable[[Path], str]) -> Table:
    """Return one row for each run without results: what became of it, why, and where its log is.

    Args:
        runs: Runs without results.
        shown: Writes a path.
    """
    rows = [
        (run.name, run.state, str(run.epochs), run.reason or "-", shown(run.log or run.folder))
        for run in sorted(runs, key=lambda run: (run.state, run.name))
    ]
    return Table("Not finished", ("run", "state", "epochs", "reason", "log or folder"), tuple(rows))


def unfinished_lines(runs: Sequence[Unfinished], shown: Callable[[Path], str]) -> list[str]:
    """Return the runs without results as lines: two for each that has a reason, one for all others of a state.

    Args:
        runs: Runs without results.
        shown: Writes a path.
    """
    lines = []
    for state in sorted({run.state for run in runs}):
        own = sorted((run for run in runs if run.state == state), key=lambda run: run.name)
        quiet = [run.name for run in own if not run.reason]
        for run in (run for run in own if run.reason):
            lines += [f"{state}: {run.name}: {run.reason}", f"  see {shown(run.log or run.folder)}"]
        lines += [f"{state}: {', '.join(quiet)}"] if quiet else []
    return lines
