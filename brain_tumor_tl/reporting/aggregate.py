"""Aggregate: group runs that differ only in their seed, or only in their fold, and name what else differs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

from brain_tumor_tl.evaluation.intervals import Interval, recommended
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.folds import Folds, fold_of, read_folds
from brain_tumor_tl.reporting.study import order, row_for, why_incomparable

Settings = Mapping[str, Any]
ABSENT = "absent"
OWN_COLUMNS = ("model", "method")
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of some values; a single value has no standard deviation."""

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class RunGroup:
    """Runs of one model and method with the same settings: one per seed, or one per fold of a cross-validation.

    Attributes:
        model: Name of the network.
        method: Name of the method.
        runs: The runs, in the order of their seeds or folds.
        settings: The settings that the results depend on and the runs share.
        differing: Those in which the groups of a report differ, apart from model and method.
        variant: The differing settings that don't follow from model and method: two methods are comparable if they
            agree in them.
        number: Number of this set of differing settings in the report, from 1; 0 if there is only one set.
        folds: The joined folds of a cross-validation, None for other runs.
    """

    model: str
    method: str
    runs: tuple[Run, ...]
    settings: Settings
    differing: Settings = field(default_factory=dict)
    variant: Settings = field(default_factory=dict)
    number: int = 0
    folds: Folds | None = None

    @property
    def choices(self) -> Mapping[str, str]:
        """The choices of the config groups, such as `recipe: onecycle`; empty for runs of older versions."""
        return self.runs[0].results.get("choices") or {}

    def select(self, keys: Iterable[str]) -> Settings:
        """Return some choices and settings, also those that only other groups have."""
        known = {**self.choices, **self.settings}
        return {key: known.get(key, ABSENT) for key in keys}

    def spread(self, value: Callable[[Mapping[str, Any]], float | None]) -> Spread | None:
        """Return mean and standard deviation of a value over the runs that have it, None if no run has it."""
        known = [found for run in self.runs if (found := value(run.results)) is not None]
        return spread(known) if known else None

    @property
    def accuracy(self) -> Spread:
        """Mean accuracy of the runs, or for a complete cross-validation the accuracy of its joined predictions.

        The standard deviation is that of the runs in both cases.
        """
        over_runs = spread([float(run.results["accuracy"]) for run in self.runs])
        joined = self.folds and self.folds.joined
        return replace(over_runs, mean=joined.accuracy) if joined else over_runs

    @property
    def interval(self) -> tuple[Interval | None, str]:
        """The 95 % interval of the accuracy and its unit; the interval is None for several seeds or missing folds."""
        if self.folds:
            return self.folds.interval, self.folds.unit
        if len(self.runs) > 1:
            return None, "image"
        return recommended(self.runs[0].results.get("intervals") or {})

    @property
    def repeats(self) -> str:
        """Number of runs, or of folds and how many there should be.

        >>> RunGroup("a", "b", (), {}, folds=Folds(5, (3,))).repeats
        '4/5 folds'
        """
        if not self.folds:
            return str(len(self.runs))
        done = self.folds.count - len(self.folds.missing)
        return f"{done}/{self.folds.count} folds" if self.folds.missing else f"{done} folds"

    @property
    def synthetic(self) -> bool:
        """Whether any run used synthetic images."""
        return any(run.results["protocol"]["synthetic"] for run in self.runs)

    @property
    def incomparable(self) -> str:
        """Why the runs can't be compared with the study, an empty string if they can."""
        return next((reason for run in self.runs if (reason := why_incomparable(run.results))), "")

    @property
    def study(self) -> Mapping[str, float]:
        """The study's figures, empty if it has none or the runs can't be compared with it."""
        return {} if self.incomparable else row_for(self.model, self.method) or {}

    @property
    def label(self) -> str:
        """The differing settings on one line."""
        return ", ".join(f"{key}={short(value)}" for key, value in self.differing.items())


def spread(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation of one or more values.

    >>> spread([1.0, 3.0])
    Spread(mean=2.0, std=1.4142135623730951, count=2)
    """
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def group_runs(
    runs: Sequence[Run], settings_of: Callable[[Mapping[str, Any]], Settings]
) -> tuple[list[RunGroup], list[Run]]:
    """Group runs with the same model, method and settings.

    Args:
        runs: Finished runs.
        settings_of: Returns the flat settings that a run's results depend on, without its seed.

    Returns:
        The groups in the order of the study's Table 1, and the runs that repeat settings, seed and fold of another:
        counting these would make the standard deviation too small.
    """
    found: dict[str, dict[tuple[int, int | None], Run]] = {}
    repeated = []
    for run in sorted(runs, key=lambda run: (run.results["seed"], fold_of(run.results) or 0, str(run.folder))):
        one = run.results
        key = json.dumps([one["model"], one["method"], settings_of(one)], sort_keys=True, default=str)
        if found.setdefault(key, {}).setdefault((one["seed"], fold_of(one)), run) is not run:
            repeated.append(run)
    groups = [make_group(tuple(members.values()), settings_of) for members in found.values()]
    return name_differences(groups), repeated


def make_group(runs: tuple[Run, ...], settings_of: Callable[[Mapping[str, Any]], Settings]) -> RunGroup:
    """Return runs with the same settings as a group."""
    first = runs[0].results
    return RunGroup(first["model"], first["method"], runs, settings_of(first), folds=read_folds(runs))


def name_differences(groups: Sequence[RunGroup]) -> list[RunGroup]:
    """Return the groups in the order of the study's Table 1, with the settings in which they differ."""
    keys = dict.fromkeys(key for group in groups for key in group.settings)
    chosen = [name for name in choice_names(groups) if not is_implied(name, groups)]
    shown = [*chosen, *(key for key in keys if not is_implied(key, groups) and not is_explained(key, chosen, groups))]
    free = [key for key in shown if not depends_on(key, groups, lambda group: (group.model, group.method))]
    named = [replace(group, differing=group.select(shown), variant=group.select(free)) for group in groups]
    labels = sorted({group.label for group in named})
    numbers = {label: number for number, label in enumerate(labels, start=1) if len(labels) > 1}
    named = [replace(group, number=numbers.get(group.label, 0)) for group in named]
    return sorted(named, key=lambda group: (*order(group.model, group.method), group.label))


def is_implied(key: str, groups: Sequence[RunGroup]) -> bool:
    """Return whether a setting is the same in all groups, or is one of the model or method and follows from it.

    The precision that a run computes in is one of the method: `auto` chooses float32 for a frozen backbone.
    """
    table = key.split(".")[0]
    return depends_on(
        key, groups, lambda group: {"model": group.model, "method": group.method, "precision": group.method}.get(table)
    )


def choice_names(groups: Sequence[RunGroup]) -> list[str]:
    """Return the config groups but those of model and method, which have columns of their own."""
    return [name for name in dict.fromkeys(n for group in groups for n in group.choices) if name not in OWN_COLUMNS]


def is_explained(key: str, chosen: Sequence[str], groups: Sequence[RunGroup]) -> bool:
    """Return whether a setting has the value that the choices of its config groups give it, in all groups.

    Args:
        key: The setting.
        chosen: The config groups with several choices.
        groups: The groups.
    """
    if not chosen or any(key in group.runs[0].results.get("changed", [key]) for group in groups):
        return False
    chosen = [*chosen, "model.name", "method.name"]
    return "." in key and depends_on(key, groups, lambda group: tuple(group.select(chosen).values()))


def depends_on(key: str, groups: Sequence[RunGroup], cause: Callable[[RunGroup], Any]) -> bool:
    """Return whether groups with the same `cause` have the same value of a setting."""
    pairs = {(cause(group), repr(group.select([key])[key])) for group in groups}
    return len(pairs) == len({cause(group) for group in groups})


def short(value: Any) -> str:
    """Return a setting's value in few characters: the last part of a path, the start of a digest.

    >>> short("/data/weights/resnet18.pth"), short(None), short(0.001), short([1, 2])
    ('resnet18.pth', 'null', '0.001', '[1, 2]')
    """
    if value is None:
        return "null"
    if isinstance(value, str) and value.startswith(("/", "~", "./")):
        return value.rstrip("/").rpartition("/")[2]
    return str(value)[:12] if DIGEST.fullmatch(str(value)) else str(value)
