"""Leaderboard: Table 1 of the study from finished runs, ours beside the published figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from brain_tumor_tl.reporting.aggregate import Group, Spread
from brain_tumor_tl.reporting.study import EPOCHS
from brain_tumor_tl.reporting.table import Table

DASH = "-"
LONGEST = 300  # characters of a set's settings on a terminal; the files have them all
Value = Callable[[Mapping[str, Any]], float | None]


@dataclass(frozen=True)
class Column:
    """One column of the leaderboard.

    Attributes:
        title: Its name where there is room; empty to leave it out there.
        short: Its name on a terminal of 80 columns; empty to leave it out there.
        text: Gives a group's cell.
        needed: Whether any of the groups has something to show in it.
    """

    title: str
    short: str
    text: Callable[[Group], str]
    needed: Callable[[Sequence[Group]], bool] = lambda groups: True


def percent(fraction: float | None) -> str:
    """Return a fraction as percent with two digits, a dash for None.

    >>> percent(0.8897)
    '88.97'
    """
    return DASH if fraction is None else f"{100 * fraction:.2f}"


def beside(ours: float | None, study: float | None) -> str:
    """Return our fraction's difference from the study's in percentage points, a dash where either is missing.

    >>> beside(0.90, 0.8897)
    '+1.03'
    """
    return DASH if ours is None or study is None else f"{100 * (ours - study):+.2f}"


def with_std(found: Spread | None, factor: float = 100) -> str:
    """Return mean and, of several values, sample standard deviation, with two digits.

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


def mean_accuracy(group: Group) -> float | None:
    """Return a group's accuracy without its std."""
    return group.accuracy.mean if group.accuracy else None


def how_sure(group: Group) -> str:
    """Return in few characters the interval of the accuracy, or where there is none its std over the runs."""
    interval, _ = group.interval
    if interval is not None:
        return f"{100 * interval[0]:.1f}-{100 * interval[1]:.1f}"
    std = group.accuracy.std if group.accuracy else None
    return DASH if std is None else f"±{100 * std:.2f}"


def some_interval(groups: Sequence[Group]) -> bool:
    """Return whether any group's accuracy has an interval."""
    return any(group.interval[0] is not None for group in groups)


def somehow_sure(groups: Sequence[Group]) -> bool:
    """Return whether it is known of any group how far its accuracy may be off."""
    return any(how_sure(group) != DASH for group in groups)


def best_accuracy(results: Mapping[str, Any]) -> float | None:
    """Return the best accuracy over the epochs, where it was chosen on the test part as the study did."""
    best: float | None = results.get("best_accuracy")
    return best if results["protocol"].get("best_chosen_on") == "test" else None


def seconds_per_epoch(results: Mapping[str, Any]) -> float | None:
    """Return the mean seconds of an epoch's training part."""
    seconds: float | None = results["seconds_per_epoch"].get("train")
    return seconds


def mean(group: Group, value: Value) -> float | None:
    """Return a value's mean over a group, None where no run has it."""
    found = group.spread(value)
    return None if found is None else found.mean


def epochs(group: Group) -> str:
    """Return the number of epochs, or the least and the most where runs differ."""
    counts = sorted({run.results["epochs"] for run in group.runs})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def study_seconds(group: Group) -> str:
    """Return the study's seconds per epoch."""
    return with_std(Spread(group.study["seconds_per_epoch"], None, 1), 1) if group.study else DASH


def beside_study(groups: Sequence[Group]) -> bool:
    """Return whether any group stands beside the study's figures."""
    return any(group.study for group in groups)


def several_settings(groups: Sequence[Group]) -> bool:
    """Return whether groups differ in more than model and method."""
    return any(group.number for group in groups)


COLUMNS = (
    Column("network", "network", lambda group: group.model),
    Column("method", "method", lambda group: group.method),
    Column("settings", "", lambda group: group.label, several_settings),
    Column("set", "set", lambda group: str(group.number), several_settings),
    Column("runs", "n", lambda group: group.repeats),
    Column("epochs", "ep.", epochs),
    Column("accuracy", "accuracy", lambda group: with_std(group.accuracy)),
    Column("95 % interval", "", lambda group: between(group.interval[0]), some_interval),
    Column("", "sd, 95 %", how_sure, somehow_sure),
    Column("study", "study", lambda group: percent(group.study.get("accuracy")), beside_study),
    Column(
        "difference", "diff.", lambda group: beside(mean_accuracy(group), group.study.get("accuracy")), beside_study,
    ),
    Column("best accuracy", "best", lambda group: with_std(group.spread(best_accuracy))),
    Column("study, best", "", lambda group: percent(group.study.get("best_accuracy")), beside_study),
    Column(
        "difference, best", "",
        lambda group: beside(mean(group, best_accuracy), group.study.get("best_accuracy")),
        beside_study,
    ),
    Column("seconds per epoch", "s/ep.", lambda group: with_std(group.spread(seconds_per_epoch), 1)),
    Column("study, seconds", "", study_seconds, beside_study),
)  # fmt: skip


def leaderboard(groups: Sequence[Group], narrow: bool = False) -> Table:
    """Return Table 1: one row for each group.

    Args:
        groups: Finished runs, put together.
        narrow: Keep to 80 columns: fewer columns, std or interval of the accuracy alone, settings by number.
    """
    columns = [column for column in COLUMNS if column.needed(groups) and (column.short if narrow else column.title)]
    rows = [[column.text(group) for column in columns] for group in groups]
    if narrow:
        rows = [[text.partition(" ±")[0] for text in row] for row in rows]
    headers = tuple(column.short if narrow else column.title for column in columns)
    legend = sorted({(group.number, group.label) for group in groups if group.number}) if narrow else []
    notes = tuple(shorten(f"set {number}: {label}", LONGEST, placeholder=" ...") for number, label in legend)
    return Table(title(groups), headers, tuple(map(tuple, rows)), notes)


def title(groups: Sequence[Group]) -> str:
    """Return what stands above the leaderboard; synthetic images can't be overlooked."""
    if any(group.synthetic for group in groups):
        return "Accuracy on the test part of SYNTHETIC images, percent; not to be compared with the study"
    return f"Accuracy on the test part, percent; study = Kazemi 2023 after {EPOCHS} epochs"


def notes(groups: Sequence[Group]) -> list[str]:
    """Return what has to be known beside the leaderboard."""
    found = []
    reasons = {group.apart for group in groups if group.apart}
    if reasons:
        found.append(f"No figures of the study stand beside runs that it can't be compared with: {listed(reasons)}.")
    if any(len(group.runs) > 1 and not group.folds for group in groups):
        found.append("Mean ± sample standard deviation over the runs, which differ in their seed alone.")
    found += [*fold_notes(groups), *interval_notes(groups)]
    if any(group.study and epochs(group) != str(EPOCHS) for group in groups):
        found.append(f"The study trained {EPOCHS} epochs; the column epochs says how many these are.")
    cached = [run for group in groups for run in group.runs if (run.results.get("features") or {}).get("cached")]
    if cached:
        found.append("Seconds per epoch of runs on cached features leave out the one pass of the frozen backbone.")
    devices = {(run.results.get("environment") or {}).get("device") for group in groups for run in group.runs} - {None}
    if len(devices) > 1:
        found.append(f"The seconds are of different devices: {listed(devices)}.")
    if any(group.study for group in groups):
        found.append("The study's seconds are of its author's machine, which it does not name.")
    return found


def fold_notes(groups: Sequence[Group]) -> list[str]:
    """Return how the figures of folds were put together, and which folds are missing."""
    found = []
    folded = [group for group in groups if group.folds]
    if folded:
        found.append(
            "Accuracy of folds is that of all their predictions joined, each image predicted once by a run that did "
            "not learn from it; ± and all other figures are mean and sample standard deviation over the folds."
        )
    for group in folded:
        if group.folds and group.folds.problem:
            name = ", ".join(part for part in (group.model, group.method, group.label) if part)
            found.append(f"{name}: {group.folds.problem}; its accuracy is the mean over the folds that are there.")
    return found


KINDS = {
    "group": "over resamples of whole groups where copies of images are known (bootstrap)",
    "image": "Wilson's, which takes images for independent",
}


def interval_notes(groups: Sequence[Group]) -> list[str]:
    """Return which interval stands beside which accuracy; docs/statistics.md says why."""
    units = {unit for group in groups for interval, unit in [group.interval] if interval is not None}
    if not units:
        return []
    kinds = ", else ".join(text for unit, text in KINDS.items() if unit in units)
    return [f"95 % intervals: {kinds}. They say how far an accuracy may move on other images drawn in the same way."]


def listed(texts: set[Any]) -> str:
    """Return texts in one order, whatever order they came in."""
    return "; ".join(sorted(map(str, texts)))
