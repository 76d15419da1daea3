"""Study: the trials of a search, stored by Optuna in a file of the sweep's folder. Nothing here starts a process."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna import pruners, samplers
from optuna.storages import JournalStorage, journal
from optuna.trial import FrozenTrial, Trial, TrialState

from brain_tumor_tl.sweep.manifest import FINISHED, SweepJob, read_metrics
from brain_tumor_tl.sweep.search.search_space import Parameter, suggested

FILE = "search.journal"
NAME = "search"  # the study's name in Optuna; a file holds one
RUN, REASON, AGAIN, OVERRIDES, ABOUT = "run", "reason", "again", "overrides", "about"  # user attributes
STARTUP_TRIALS = 5  # trials before the median pruner starts


@dataclass
class Study:
    """The trials of one search; only one process at a time may open them.

    Attributes:
        folder: The sweep's folder.
        space: The search space.
        metric: The column of `metrics.csv` to optimise: a loss is minimised, anything else maximised.
        max_trials: Number of trials, including those of earlier starts.
        sampler: "tpe" or "random".
        pruner: "none", "median" or "hyperband".
        seed: Of the sampler.
        epochs: Of a trial.
    """

    folder: Path
    space: list[Parameter]
    metric: str
    max_trials: int
    sampler: str
    pruner: str
    seed: int
    epochs: int

    def __post_init__(self) -> None:
        """Open the file, or create it."""
        self.best_of = min if self.metric.endswith("loss") else max
        repair(self.folder / FILE)
        self._storage = JournalStorage(journal.JournalFileBackend(str(self.folder / FILE)))
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # creating a study prints a line
        self._study = optuna.create_study(
            study_name=NAME,
            storage=self._storage,
            direction="minimize" if self.best_of is min else "maximize",
            pruner=make_pruner(self.pruner, self.epochs),
            load_if_exists=True,
        )
        optuna.logging.set_verbosity(verbosity)
        self._interrupted = [trial.number for trial in self.trials(TrialState.RUNNING)]
        self._failed_before = len(self.trials(TrialState.FAIL))

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in some states, by default every trial."""
        return self._study.get_trials(deepcopy=False, states=states or None)

    def first_settings(self, about: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the settings of the search's first start, which this call stores if it is the first."""
        if ABOUT not in self._study.user_attrs:
            self._study.set_user_attr(ABOUT, dict(about))
        return dict(self._study.user_attrs[ABOUT])

    def repeat_failed(self) -> None:
        """Repeat the trials that failed in an earlier start before any new ones."""
        repeated = {trial.user_attrs.get(AGAIN) for trial in self.trials()}
        for trial in self.trials(TrialState.FAIL):
            if trial.number not in repeated:
                self._study.enqueue_trial(trial.params, user_attrs={AGAIN: trial.number})

    def next(self) -> tuple[Trial, list[str]] | None:
        """Return a trial and its overrides: an interrupted one, else a new one; None if there are enough."""
        begun = len(self.trials()) - len(self.trials(TrialState.WAITING)) - self._failed_before
        if not self._interrupted and begun >= self.max_trials:
            return None
        # Each trial has its own sampler, seeded with its number, so that an interrupted search continues as an
        # uninterrupted one would. A single generator would restart with the same numbers.
        number = self._interrupted[0] if self._interrupted else len(self.trials())
        self._study.sampler = make_sampler(self.sampler, self.seed, number)
        trial = self._reopened(self._interrupted.pop(0)) if self._interrupted else self._study.ask()
        overrides = suggested(trial, self.space)
        trial.set_user_attr(OVERRIDES, overrides)
        return trial, overrides

    def _reopened(self, number: int) -> Trial:
        """Return an interrupted trial, with its number and what it reported."""
        study_id = self._storage.get_study_id_from_name(NAME)
        return Trial(self._study, self._storage.get_trial_id_from_study_id_trial_number(study_id, number))

    def report(self, trial: Trial, folder: Path) -> int | None:
        """Report a run's new epochs to Optuna; return the last of them if the trial should be pruned."""
        values = metric_values(folder, self.metric)
        reported = self.trials()[trial.number].intermediate_values
        new = [epoch for epoch in values if epoch not in reported]
        for epoch in new:
            trial.report(values[epoch], epoch)
        return max(new) if new and trial.should_prune() else None

    def finish(self, trial: Trial, job: SweepJob) -> None:
        """Record how a trial's job ended; it failed if its metrics have no value. An interrupted one stays open."""
        self.report(trial, job.folder)
        values = [value for value in metric_values(job.folder, self.metric).values() if math.isfinite(value)]
        if job.state in FINISHED and values:
            self._study.tell(trial, self.best_of(values))
        elif job.state in FINISHED:
            job.state, job.reason = "failed", f"its metrics.csv has no number in {self.metric}"
        if job.state == "pruned":
            self._study.tell(trial, state=TrialState.PRUNED)
        elif job.state == "failed":
            self.fail(trial, job.reason or "")

    def fail(self, trial: Trial, reason: str) -> None:
        """Record that a trial failed."""
        trial.set_user_attr(REASON, reason)
        self._study.tell(trial, state=TrialState.FAIL)

    def was_pruned(self, run: str) -> bool:
        """Tell whether a trial with this run was pruned before."""
        return any(trial.user_attrs.get(RUN) == run for trial in self.trials(TrialState.PRUNED))

    def best(self) -> FrozenTrial | None:
        """Return the best finished trial, of equals the first by its run's name; None if none is finished."""
        named = sorted(self.trials(TrialState.COMPLETE), key=lambda trial: str(trial.user_attrs.get(RUN)))
        finished = {trial.number: trial.values[0] for trial in named}
        return self.trials()[self.best_of(finished, key=finished.__getitem__)] if finished else None

    def summary(self, running: str) -> str:
        """Return how many trials ended how, as text.

        Args:
            running: The word for those that have not ended.
        """
        ends = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        counts = {word: len(self.trials(state)) for word, state in {**ends, running: TrialState.RUNNING}.items()}
        started = [trial for trial in self.trials() if trial.state != TrialState.WAITING]
        counts["failed"] -= sum(AGAIN in trial.user_attrs for trial in started)  # those that were repeated don't count
        return ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "none"


def make_sampler(name: str, seed: int, number: int) -> samplers.BaseSampler:
    """Return the sampler of a trial.

    Args:
        name: "tpe" or "random".
        seed: The search's seed.
        number: The trial's number.
    """
    own = random.Random(f"{seed}-{number}").getrandbits(32)
    if name == "random":
        return samplers.RandomSampler(seed=own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # constant_liar is experimental
        # Running trials count as poor ones, so that parallel trials differ from each other.
        return samplers.TPESampler(seed=own, constant_liar=True)


def make_pruner(name: str, epochs: int) -> pruners.BasePruner:
    """Return a pruner.

    Args:
        name: "none", "median" or "hyperband".
        epochs: Epochs of a trial.
    """
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, max_resource=max(epochs, 1), reduction_factor=3)
    if name == "median":  # the first epochs of fine-tuning say little about the last ones
        return pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=epochs // 5)
    return pruners.NopPruner()


def metric_values(folder: Path, metric: str) -> dict[int, float]:
    """Return a column of a run's `metrics.csv` by epoch, without the epochs that have no value."""
    return {int(row["epoch"]): row[metric] for row in read_metrics(folder) if metric in row}


def repair(path: Path) -> None:
    """Remove what a killed process left behind: half a line at the end of the file, and Optuna's lock."""
    path.with_name(path.name + ".lock").unlink(missing_ok=True)
    if path.is_file():
        with path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
