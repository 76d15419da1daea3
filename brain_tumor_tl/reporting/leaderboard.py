"""Leaderboard: the study's Table 1 from finished runs, beside the published figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import shorten
from typing import Any, NamedTuple

from brain_tumor_tl.reporting.aggregate import RunGroup, Spread
from brain_tumor_tl.reporting.study import EPOCHS
from brain_tumor_tl.reporting.table import EMPTY, Table, compact_table

DASH = "-"
LONGEST = 300  # characters of a set's settings on a terminal; the files contain all of them


def percent(fraction: float | None, digits: int = 2) -> str:
    """Return a fraction as percent, a dash for None.

    >>> percent(0.8897), percent(0.8897, digits=0)
    ('88.97', '89')
    """
    return DASH if fraction is None else f"{100 * fraction:.{digits}f}"


def in_percent(probability: float) -> str:
    """Return a probability in percent, which is never rounded to certainty.

    >>> [in_percent(value) for value in (0.5, 0.99951, 0.0003)]
    ['50.0 %', '> 99.9 %', '< 0.1 %']
    """
    if probability > 0.9994:
        return "> 99.9 %"
    return "< 0.1 %" if probability < 0.0006 else f"{100 * probability:.1f} %"


def p_text(value: float | None) -> str:
    """Return a p-value with three digits.

    >>> p_text(0.0312), p_text(0.00001), p_text(None)
    ('0.031', '< 0.001', '-')
    """
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def with_std(found: Spread | None, factor: float = 100) -> str:
    """Return the mean and, for several values, the sample standard deviation, with two digits.

    >>> with_std(Spread(0.8968, 0.0120, 3)), with_std(Spread(1.5, None, 1), factor=1), with_std(None)
    ('89.68 ± 1.20', '1.50', '-')
    """
    if found is None:
        return DASH
    std = "" if found.std is None else f" ± {factor * found.std:.2f}"
    return f"{factor * found.mean:.2f}{std}"


def between(interval: Sequence[float] | None) -> str:
    """Return an interval of fractions as percent, a dash for None.

    >>> between([0.87846, 0.92391])
    '87.85 to 92.39'
    """
    return DASH if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def std_or_interval(group: RunGroup) -> str:
    """Return the interval of the accuracy in few characters, or its standard deviation over the runs, or nothing."""
    interval, _ = group.interval
    if interval is not None:
        return f"{percent(interval[0], 1)}-{percent(interval[1], 1)}"
    return "" if group.accuracy.std is None else f"±{percent(group.accuracy.std)}"


def best_accuracy(results: Mapping[str, Any]) -> float | None:
    """Return the best accuracy over the epochs if it was chosen on the test split, as in the study."""
    best: float | None = results.get("best_accuracy")
    return best if results["protocol"].get("best_chosen_on") == "test" else None


def seconds_per_epoch(results: Mapping[str, Any]) -> float | None:
    """Return the mean training time of an epoch."""
    seconds: float | None = results["seconds_per_epoch"].get("train")
    return seconds


def epochs(group: RunGroup) -> str:
    """Return the number of epochs, or the smallest and largest number if runs differ."""
    counts = sorted({run.results["epochs"] for run in group.runs})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def study_figure(key: str, text: Callable[[float], str] = percent) -> Callable[[RunGroup], str]:
    """Return the function that returns the study's figure `key` for a group, an empty string if it has none."""
    return lambda group: text(group.study[key]) if group.study else ""


def study_difference(group: RunGroup, ours: Spread | None, key: str) -> str:
    """Return a mean minus the study's figure `key` in percentage points, an empty string if the study has none."""
    if not group.study:
        return ""
    return DASH if ours is None else f"{100 * (ours.mean - group.study[key]):+.2f}"


class Column(NamedTuple):
    """One column of the leaderboard; it is left out if all its cells are empty.

    Attributes:
        title: Its header; empty if only the narrow table has it.
        short: Its header in the narrow table; empty if only the wide table has it.
        text: Returns a group's cell.
    """

    title: str
    short: str
    text: Callable[[RunGroup], str]


COLUMNS = (
    Column("network", "network", lambda group: group.model),
    Column("method", "method", lambda group: group.method),
    Column("settings", "", lambda group: group.label),
    Column("set", "set", lambda group: str(group.number or "")),
    Column("runs", "n", lambda group: group.repeats),
    Column("epochs", "ep.", epochs),
    Column("accuracy", "accuracy", lambda group: with_std(group.accuracy)),
    Column("95 % interval", "", lambda group: between(group.interval[0]) if group.interval[0] else ""),
    Column("", "sd, 95 %", std_or_interval),
    Column("study", "study", study_figure("accuracy")),
    Column("difference", "diff.", lambda group: study_difference(group, group.accuracy, "accuracy")),
    Column("best accuracy", "best", lambda group: with_std(group.spread(best_accuracy))),
    Column("study, best", "", study_figure("best_accuracy")),
    Column("difference, best", "", lambda g: study_difference(g, g.spread(best_accuracy), "best_accuracy")),
    Column("seconds per epoch", "s/ep.", lambda group: with_std(group.spread(seconds_per_epoch), 1)),
    Column("study, seconds", "", study_figure("seconds_per_epoch", "{:.2f}".format)),
)


LEADING = ("network", "method", "set", "accuracy", "95 % interval")  # columns of the wide table that come first


def leaderboard(groups: Sequence[RunGroup], narrow: bool = False) -> Table:
    """Return Table 1: one row for each group.

    Args:
        groups: Finished runs, grouped.
        narrow: Keep to 80 columns: fewer columns, only one of interval and standard deviation, settings by number.
    """
    shown = [column for column in COLUMNS if (column.short if narrow else column.title)]
    columns = shown if narrow else sorted(shown, key=lambda column: place_on_page(column.title))
    rows = [[column.text(group) for column in columns] for group in groups]
    if not narrow:
        return compact_table(title(groups), [column.title for column in columns], rows, left_out=EMPTY)
    rows = [[text.partition(" ±")[0] for text in row] for row in rows]
    legend = sorted({(group.number, group.label) for group in groups if group.number})
    notes = [shorten(f"set {number}: {label}", LONGEST, placeholder=" ...") for number, label in legend]
    return compact_table(title(groups), [column.short for column in columns], rows, notes)


def place_on_page(title: str) -> int:
    """Return where a column of the wide table stands: the accuracy in sight in a narrow window, long settings last."""
    return LEADING.index(title) if title in LEADING else len(LEADING) + (title == "settings")


def title(groups: Sequence[RunGroup]) -> str:
    """Return the title of the leaderboard, which says clearly if images are synthetic."""
    if any(group.synthetic for group in groups):
        return "Accuracy on the test split of SYNTHETIC images, percent; not comparable with the study"
    study = f"; study = Kazemi 2023 after {EPOCHS} epochs" if any(group.study for group in groups) else ""
    return f"Accuracy on the test split, percent{study}"


def notes(groups: Sequence[RunGroup]) -> list[str]:
    """Return what a reader of the leaderboard must know."""
    found = []
    reasons = {group.incomparable for group in groups} - {""}
    if reasons:
        found.append(
            f"The study's figures are not shown for runs that differ from its protocol: {'; '.join(sorted(reasons))}."
        )
    if any(len(group.runs) > 1 and not group.folds for group in groups):
        found.append("Mean ± sample standard deviation over the runs, which differ only in their seed.")
    found += [*fold_notes(groups), *interval_notes(groups)]
    compared = [group for group in groups if group.study]
    if any(epochs(group) != str(EPOCHS) for group in compared):
        found.append(f"The study trained {EPOCHS} epochs; the column epochs says how many these runs trained.")
    results = [run.results for group in groups for run in group.runs]
    if any((one.get("features") or {}).get("cached") for one in results):
        found.append("Seconds per epoch of runs on cached features don't include the one pass of the frozen backbone.")
    devices = {(one.get("environment") or {}).get("device") for one in results} - {None}
    if len(devices) > 1:
        found.append(f"The times are from different devices: {'; '.join(sorted(map(str, devices)))}.")
    if compared:
        found.append("The study's times are from its author's machine, which it doesn't name.")
    return found


def fold_notes(groups: Sequence[RunGroup]) -> list[str]:
    """Return how the folds were combined, and which folds are missing."""
    folded = [(group, group.folds.problem) for group in groups if group.folds]
    combined = (
        "Accuracy of a cross-validation is that of all its predictions joined, each image predicted once by a run that "
        "did not train on it; ± and all other figures are mean and sample standard deviation over the folds."
    )
    found = [combined] if folded else []
    for group, problem in folded:
        if problem:
            name = ", ".join(filter(None, (group.model, group.method, group.label)))
            found.append(f"{name}: {problem}; its accuracy is the mean over the finished folds.")
    return found


def interval_notes(groups: Sequence[RunGroup]) -> list[str]:
    """Return which kinds of interval are shown; docs/statistics.md gives the reasons."""
    units = {unit for group in groups for interval, unit in [group.interval] if interval is not None}
    kinds = ["bootstrap of whole patients where they are known"] if "patient" in units else []
    kinds += ["bootstrap of whole groups where copies of images are known"] if "group" in units else []
    kinds += ["Wilson's, which assumes independent images"] if "image" in units else []
    meaning = "They show how much an accuracy may vary with the choice of test images."
    return [f"95 % intervals: {', else '.join(kinds)}. {meaning}"] if units else []
