"""Trials: what a search has tried, kept by Optuna in a file of the sweep's folder; nothing here starts a process."""

from __future__ import annotations

import csv
import math
import random
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from brain_tumor_tl.sweep.search.search_space import Parameter, suggested

FILE = "search.journal"
NAME = "search"  # Optuna's name of it; a file holds one
RUN, REASON, AGAIN, OVERRIDES, ABOUT = "run", "reason", "again", "overrides", "about"  # what is noted beside
FIRST = 5  # trials before the median says anything

optuna.logging.set_verbosity(optuna.logging.WARNING)  # the launcher tells of trials itself


class Trials:
    """The trials of one search; only one process at a time may have them.

    Args:
        folder: The sweep's folder.
        space: What is searched.
        metric: The column of `metrics.csv` that counts.
        most: Trials that are wanted, those of earlier starts included.
        sampler: "tpe" or "random".
        pruner: "none", "median" or "hyperband".
        seed: Of the sampler.
        epochs: Of a trial.
    """

    def __init__(
        self,
        folder: Path,
        space: Sequence[Parameter],
        metric: str,
        *,
        most: int,
        sampler: str,
        pruner: str,
        seed: int,
        epochs: int,
    ) -> None:
        self.space, self.metric, self.most = list(space), metric, most
        self.small = metric.endswith("loss")
        self.sampler, self.pruner, self.seed = sampler, pruner, seed
        path = folder / FILE
        mend(path)
        self._search = optuna.create_study(
            study_name=NAME,
            storage=JournalStorage(JournalFileBackend(str(path))),
            direction="minimize" if self.small else "maximize",
            pruner=make_pruner(pruner, epochs),
            load_if_exists=True,
        )
        self._cut = [trial for trial in self.all() if trial.state == TrialState.RUNNING]
        self._failed_before = sum(trial.state == TrialState.FAIL for trial in self.all())

    def all(self) -> list[FrozenTrial]:
        """Return every trial."""
        return self._search.get_trials(deepcopy=False)

    def about(self) -> Mapping[str, Any]:
        """Return what was noted of the search, empty for a new one."""
        return dict(self._search.user_attrs.get(ABOUT, {}))

    def note(self, about: Mapping[str, Any]) -> None:
        """Note what the search is, for later starts."""
        self._search.set_user_attr(ABOUT, dict(about))

    def repeat_failed(self) -> None:
        """Try what failed in an earlier start once more, before anything new."""
        repeated = {trial.user_attrs.get(AGAIN) for trial in self.all()}
        for trial in self.all():
            if trial.state == TrialState.FAIL and trial.number not in repeated:
                self._search.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})

    def counted(self) -> int:
        """Return how many trials there are, failures of earlier starts and what is still to begin left out."""
        return sum(trial.state != TrialState.WAITING for trial in self.all()) - self._failed_before

    def next(self) -> tuple[Trial, list[str]] | None:
        """Return a trial and its overrides: one that was cut, else a new one; None where there are enough."""
        if not self._cut and self.counted() >= self.most:
            return None
        # A sampler of its own for each trial: what it chooses then follows from what was tried, and not from how often
        # the search was started. One generator would begin anew with the same numbers.
        number = self._cut[0].number if self._cut else len(self.all())
        self._search.sampler = make_sampler(self.sampler, self.seed, number)
        # Optuna has no public way to go on with a trial; a new one would lose its number and what it reported.
        trial = Trial(self._search, self._cut.pop(0)._trial_id) if self._cut else self._search.ask()
        overrides = suggested(trial, self.space)
        trial.set_user_attr(OVERRIDES, overrides)
        return trial, overrides

    def report(self, trial: Trial, folder: Path) -> int | None:
        """Tell Optuna of a run's epochs so far; return the last of them where it is not worth going on."""
        values = metric_values(folder, self.metric)
        known = self._search.get_trials(deepcopy=False)[trial.number].intermediate_values
        news = [epoch for epoch in values if epoch not in known]
        for epoch in news:
            trial.report(values[epoch], epoch)
        return max(news) if news and trial.should_prune() else None

    def complete(self, trial: Trial, folder: Path) -> float | None:
        """Note that a trial's run is finished; return its value, None where its metrics have none."""
        self.report(trial, folder)
        values = [value for value in metric_values(folder, self.metric).values() if math.isfinite(value)]
        if not values:
            return None
        value = min(values) if self.small else max(values)
        self._search.tell(trial, value)
        return value

    def fail(self, trial: Trial, reason: str) -> None:
        """Note that a trial failed."""
        trial.set_user_attr(REASON, reason)
        self._search.tell(trial, state=TrialState.FAIL)

    def prune(self, trial: Trial, folder: Path) -> None:
        """Note that a trial was ended early."""
        self.report(trial, folder)
        self._search.tell(trial, state=TrialState.PRUNED)

    def begin(self, trial: Trial, run: str) -> None:
        """Note the name of a trial's run."""
        trial.set_user_attr(RUN, run)

    def pruned_run(self, run: str) -> bool:
        """Tell whether a trial with this run was pruned before."""
        return any(trial.state == TrialState.PRUNED and trial.user_attrs.get(RUN) == run for trial in self.all())

    def best(self) -> FrozenTrial | None:
        """Return the best finished trial, the earliest of equals; None where none is finished."""
        finished = [trial for trial in self.all() if trial.state == TrialState.COMPLETE and trial.value is not None]
        sign = 1 if self.small else -1
        return min(finished, key=lambda trial: (sign * (trial.value or 0.0), trial.number), default=None)

    def summary(self, under_way: str) -> str:
        """Return how many trials ended how, in words.

        Args:
            under_way: The word for those that did not end.
        """
        trials = self.all()
        words = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        counts = {word: sum(trial.state == state for trial in trials) for word, state in words.items()}
        counts["failed"] -= sum(AGAIN in trial.user_attrs and trial.state != TrialState.WAITING for trial in trials)
        counts[under_way] = sum(trial.state == TrialState.RUNNING for trial in trials)
        return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "none"


def make_sampler(name: str, seed: int, number: int) -> BaseSampler:
    """Return what chooses the values of a trial.

    Args:
        name: "tpe" or "random".
        seed: Of the search.
        number: The trial's.
    """
    own = random.Random(f"{seed}-{number}").getrandbits(32)
    if name == "random":
        return RandomSampler(seed=own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant_liar is called experimental
        # Trials that run count as poor ones, so that trials side by side don't crowd in one place.
        return TPESampler(seed=own, constant_liar=True)


def make_pruner(name: str, epochs: int) -> BasePruner:
    """Return what ends trials early.

    Args:
        name: "none", "median" or "hyperband".
        epochs: Of a trial.
    """
    if name == "hyperband":
        return HyperbandPruner(min_resource=1, max_resource=max(epochs, 1), reduction_factor=3)
    # The first epochs of fine-tuning tell little of the last ones.
    return MedianPruner(n_startup_trials=FIRST, n_warmup_steps=epochs // 5) if name == "median" else NopPruner()


def metric_values(folder: Path, metric: str) -> dict[int, float]:
    """Return a column of a run's `metrics.csv` by epoch, without epochs that it was not looked at in."""
    try:
        with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
            return {int(row["epoch"]): float(row[metric]) for row in csv.DictReader(file) if row.get(metric)}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def mend(path: Path) -> None:
    """Take off what a process that was killed left behind: half a line at the end of the file, and Optuna's lock."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if path.is_file():
        with path.open("rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
