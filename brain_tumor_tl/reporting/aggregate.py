"""Groups: runs that differ in their seed alone, or their fold alone, put together; what else differs is named."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from brain_tumor_tl.evaluation.intervals import Interval, recommended
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.folds import Folds, fold_of, read_folds
from brain_tumor_tl.reporting.study import order, row_for, why_apart

Settings = Mapping[str, Any]
ABSENT = "absent"
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Spread:
    """Mean of some values and their sample standard deviation, which one value alone doesn't have."""

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class Group:
    """Runs of one model and method with the same settings: one of each seed, or one of each fold of a seed.

    Attributes:
        settings: What the runs share and their figures depend on.
        differing: Those of them in which groups of the same report differ, other than model and method.
        number: Which of the report's different settings these are, from 1; 0 where there are no others.
        variant: The differing settings that method and model don't imply: what two methods must share to compare.
        folds: What the runs say together where they are folds of a cross-validation, else None.
    """

    model: str
    method: str
    runs: tuple[Run, ...]
    settings: Settings
    differing: Settings
    number: int = 0
    variant: Settings = field(default_factory=dict)
    folds: Folds | None = None

    def spread(self, value: Callable[[Mapping[str, Any]], float | None]) -> Spread | None:
        """Return mean and standard deviation of a value over the runs that have it, None where none does."""
        return spread([value(run.results) for run in self.runs])

    @property
    def accuracy(self) -> Spread | None:
        """Accuracy: over seeds the mean; of a whole cross-validation that of all its predictions joined.

        The std is that over the runs either way.
        """
        over_runs = spread([float(run.results["accuracy"]) for run in self.runs])
        joined = self.folds and self.folds.joined
        return replace(over_runs, mean=joined.accuracy) if joined and over_runs else over_runs

    @property
    def interval(self) -> tuple[Interval | None, str]:
        """The 95 % interval of the accuracy of one run or one whole cross-validation, and its unit; None for others."""
        if self.folds:
            return self.folds.interval, self.folds.unit
        if len(self.runs) > 1:
            return None, "image"
        return recommended(self.runs[0].results.get("intervals") or {})

    @property
    def repeats(self) -> str:
        """How many runs, and of folds how many there should be.

        >>> Group("a", "b", (), {}, {}, folds=Folds(5, (3,))).repeats
        '4/5 folds'
        """
        if not self.folds:
            return str(len(self.runs))
        done = self.folds.count - len(self.folds.missing)
        return f"{done}/{self.folds.count} folds" if self.folds.missing else f"{done} folds"

    @property
    def synthetic(self) -> bool:
        """Whether any run's images are drawn."""
        return any(run.results["protocol"]["synthetic"] for run in self.runs)

    @property
    def apart(self) -> str:
        """Why the study's figures don't stand beside these; an empty string where they do."""
        return next((reason for run in self.runs if (reason := why_apart(run.results))), "")

    @property
    def study(self) -> Mapping[str, float]:
        """The study's row, empty where it has none or the runs don't compare."""
        return {} if self.apart else row_for(self.model, self.method) or {}

    @property
    def label(self) -> str:
        """The differing settings as one line."""
        return ", ".join(f"{key}={short(value)}" for key, value in self.differing.items())


def spread(values: Sequence[float | None]) -> Spread | None:
    """Return mean and sample standard deviation of the values that are there.

    >>> spread([1.0, 3.0, None])
    Spread(mean=2.0, std=1.4142135623730951, count=2)
    """
    there = [value for value in values if value is not None]
    if not there:
        return None
    mean = sum(there) / len(there)
    squares = sum((value - mean) ** 2 for value in there)
    return Spread(mean, math.sqrt(squares / (len(there) - 1)) if len(there) > 1 else None, len(there))


def group_runs(
    runs: Sequence[Run], settings_of: Callable[[Mapping[str, Any]], Settings]
) -> tuple[list[Group], list[Run]]:
    """Return the groups of some runs in the order of the study's Table 1, and the runs that are in none.

    Args:
        runs: Finished runs.
        settings_of: Gives the flat settings that a run's figures depend on, its seed left out.

    Returns:
        The groups, and runs whose settings, seed and fold another run has too: counting both would show a spread too
        small.
    """
    found: dict[str, dict[tuple[int, int | None], Run]] = {}
    settings: dict[str, Settings] = {}
    again = []
    for run in sorted(runs, key=lambda run: (run.results["seed"], fold_of(run.results) or 0, str(run.folder))):
        own = settings_of(run.results)
        key = json.dumps([run.results["model"], run.results["method"], own], sort_keys=True, default=str)
        settings[key] = own
        same = found.setdefault(key, {})
        if same.setdefault((run.results["seed"], fold_of(run.results)), run) is not run:
            again.append(run)
    groups = [make_group(list(found[key].values()), settings[key]) for key in found]
    return number_groups(name_differences(groups)), again


def make_group(runs: Sequence[Run], settings: Settings) -> Group:
    """Return runs that share their settings as a group."""
    first = runs[0].results
    return Group(first["model"], first["method"], tuple(runs), settings, {}, folds=read_folds(runs))


def name_differences(groups: Sequence[Group]) -> list[Group]:
    """Return the groups, each with the settings in which it may differ from another one."""
    keys = list(dict.fromkeys(key for group in groups for key in group.settings))
    shown = [key for key in keys if not implied(key, groups)]
    free = [key for key in shown if not follows(key, groups, lambda g: (g.model, g.method))]
    return [
        replace(
            group,
            differing={key: group.settings.get(key, ABSENT) for key in shown},
            variant={key: group.settings.get(key, ABSENT) for key in free},
        )
        for group in groups
    ]


def implied(key: str, groups: Sequence[Group]) -> bool:
    """Return whether a setting is the same everywhere, or only says again which model or method it is."""
    if follows(key, groups, lambda group: None):
        return True
    table = key.split(".")[0]
    return (table == "model" and follows(key, groups, lambda group: group.model)) or (
        table == "method" and follows(key, groups, lambda group: group.method)
    )


def follows(key: str, groups: Sequence[Group], from_what: Callable[[Group], Any]) -> bool:
    """Return whether a setting follows from something else that the groups have."""
    values: dict[Any, str] = {}
    return all(
        values.setdefault(from_what(group), repr(group.settings.get(key, ABSENT)))
        == repr(group.settings.get(key, ABSENT))
        for group in groups
    )


def number_groups(groups: Sequence[Group]) -> list[Group]:
    """Return the groups sorted as the study's Table 1, with a number for each set of differing settings."""
    ordered = sorted(groups, key=lambda group: (*order(group.model, group.method), group.label))
    labels = sorted({group.label for group in ordered})
    if len(labels) < 2:
        return ordered
    return [replace(group, number=labels.index(group.label) + 1) for group in ordered]


def short(value: Any) -> str:
    """Return a setting's value in few characters: of a path the last part, of a digest the first.

    >>> short("/data/weights/resnet18.pth"), short(None), short(0.001), short([1, 2])
    ('resnet18.pth', 'null', '0.001', '[1, 2]')
    """
    if value is None:
        return "null"
    if isinstance(value, str) and value.startswith(("/", "~", "./")):
        return value.rstrip("/").rpartition("/")[2]
    return str(value)[:12] if DIGEST.fullmatch(str(value)) else str(value)
