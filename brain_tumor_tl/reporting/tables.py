"""Tables: what a run and a report print on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from brain_tumor_tl.reporting.aggregate import RunGroup
from brain_tumor_tl.reporting.discover import Unfinished
from brain_tumor_tl.reporting.leaderboard import between, fold_notes, interval_notes, leaderboard, percent
from brain_tumor_tl.reporting.protocol_text import describe_means, summarize_splits
from brain_tumor_tl.reporting.table import Table, make_table

MOST = 30  # classes that a run's table lists
RESUMES = {"cut": "; interrupted, and the same command resumes after the last saved epoch"}  # what a state means


def run_table(results: Mapping[str, Any], images: str = "test split") -> Table:
    """Return precision, recall and F1 of each class of one run in percent, with the run's other metrics below.

    Of more than `MOST` classes it has those with the lowest F1.

    Args:
        results: Content of the run's `results.json`.
        images: What it was evaluated on, for the title.
    """
    note = " on SYNTHETIC images" if results["protocol"]["synthetic"] else ""
    intervals = (results.get("intervals") or {}).get("per_class", {})
    found = results["per_class"]
    worst = sorted(found, key=lambda name: (found[name]["f1"] is None, found[name]["f1"] or 0))[:MOST]
    rows = []
    for name in worst if len(found) > MOST else found:
        row = found[name]
        interval = [between(intervals[name]["recall"])] if intervals else []
        rows.append(
            [name, percent(row["precision"]), percent(row["recall"]), *interval, percent(row["f1"]), row["support"]]
        )
    headers = ["class", "precision", "recall", *(["95 %"] if intervals else []), "F1", "images"]
    fewer = f", the {MOST} classes of {len(found)} with the lowest F1" if len(found) > MOST else ""
    title = f"{results['name']}: {images}{note}, percent{fewer}"
    return make_table(title, headers, rows, metric_lines(results))


def metric_lines(results: Mapping[str, Any]) -> list[str]:
    """Return a run's accuracy with its interval, AUROC and calibration; empty if the run has no intervals."""
    intervals, probabilities = results.get("intervals"), results.get("probabilities")
    if not intervals or not probabilities:
        return []
    lines = [f"accuracy {percent(results['accuracy'])}, 95 % interval {between(intervals['accuracy'])} (Wilson)"]
    units = {"patient": "patients and groups of copies", "group": "groups of copies"}
    if intervals["unit"] in units:
        by_group = between(intervals["accuracy_bootstrap"])
        single = intervals["units"] == sum(row["support"] for row in results["per_class"].values())
        whole = f"over {intervals['units']} {units[intervals['unit']]} {by_group} (bootstrap)"
        lines.append(f"{by_group} (bootstrap of single images)" if single else whole)
    error = percent(probabilities["calibration_error"])
    if probabilities["temperature"] is not None:
        after = percent(probabilities["calibrated"]["calibration_error"])
        error += f", {after} at temperature {probabilities['temperature']:.2f} (fitted on val)"
    elif probabilities.get("no_temperature"):
        error += f"; no temperature: {probabilities['no_temperature']}"
    lines += [f"AUROC {percent(probabilities['auroc'])} (one vs. rest, mean)", f"calibration error {error}"]
    return [*lines, *superclass_lines(results), *filter(None, [describe_means(results)])]


def superclass_lines(results: Mapping[str, Any]) -> list[str]:
    """Return accuracy and recalls of a run's superclasses, with their intervals; empty without a hierarchy."""
    found = results.get("superclasses")
    if not found:
        return []
    intervals = found["intervals"]
    recalls = [
        f"{name} {percent(row['recall'])} ({between(intervals['per_class'][name]['recall'])})"
        for name, row in found["per_class"].items()
    ]
    whole = f"accuracy {percent(found['accuracy'])} ({between(intervals['accuracy'])})"
    return [f"{' / '.join(found['per_class'])}: {whole}, AUROC {percent(found['auroc'])}, recall {', '.join(recalls)}"]


def summary_table(groups: Sequence[RunGroup]) -> Table:
    """Return the leaderboard in at most 80 columns, with what test and training splits have in common below."""
    table = leaderboard(groups, narrow=True)
    splits = summarize_splits([run.results for group in groups for run in group.runs])
    return replace(table, notes=(*table.notes, *fold_notes(groups)[1:], *interval_notes(groups), *splits))


def unfinished_table(runs: Sequence[Unfinished], shown: Callable[[Path], str]) -> Table:
    """Return a row for each run without results.

    Args:
        runs: Runs without results, in the order of the rows.
        shown: Returns a path as it is to be shown.
    """
    headers = ("run", "state", "epochs", "reason", "log or folder")
    rows = [(run.name, run.state, run.epochs, run.reason or None, shown(run.log or run.folder)) for run in runs]
    return make_table("", headers, rows)


def unfinished_lines(runs: Sequence[Unfinished], shown: Callable[[Path], str], reasons: bool = True) -> list[str]:
    """Return the runs without results as lines: two for each with a reason, one for all others of a state.

    Args:
        runs: Runs without results, by state.
        shown: Returns a path as it is to be shown.
        reasons: Whether to include the reasons.
    """
    lines = []
    for state in dict.fromkeys(run.state for run in runs):
        same = [run for run in runs if run.state == state]
        for run in same:
            if run.reason and reasons:
                lines += [f"{state}: {run.name}: {run.reason}", f"  see {shown(run.log or run.folder)}"]
        others = ", ".join(run.name for run in same if not (run.reason and reasons))
        lines += [f"{state}: {others}{RESUMES.get(state, '')}"] if others else []
    return lines
