"""Feed: gives a queue the runs of a search's trials one after the other, and Optuna what becomes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from optuna.trial import Trial

from brain_tumor_tl.sweep.manifest import SweepJob
from brain_tumor_tl.sweep.queue import Watcher
from brain_tumor_tl.sweep.search.study import Trials

LOOK_SECONDS = 1.0  # how often the metrics of running trials are read


class Feed:
    """The source and the watcher of the queue that runs a search.

    Args:
        trials: What is tried.
        plan: Makes the job of a trial from its overrides; raises ValueError where they can't run.
        jobs: Takes the jobs up, for those who show them.
        watcher: Is told of every change.
        say: Writes a line.
    """

    def __init__(
        self,
        trials: Trials,
        plan: Callable[[Sequence[str]], SweepJob],
        jobs: list[SweepJob],
        watcher: Watcher,
        say: Callable[[str], None],
    ) -> None:
        self.trials, self.plan, self.jobs, self.watcher, self.say = trials, plan, jobs, watcher, say
        self.running: dict[str, list[Trial]] = {}  # by name of the run; several where one was suggested twice
        self.failed: dict[str, str] = {}  # name of the run, or number of the trial, and reason
        self._known: dict[str, SweepJob] = {}  # of this start, by name
        self._looked = 0.0

    def next(self) -> SweepJob | None:
        """Return the job of the next trial that needs one; None where there is none."""
        while (found := self.trials.next()) is not None:
            job = self.job_of(*found)
            if job is not None:
                return job
        return None

    def job_of(self, trial: Trial, overrides: Sequence[str]) -> SweepJob | None:
        """Return the job of a trial; None where what becomes of it is known, or will be by a run that is under way."""
        try:
            job = self.plan(overrides)
        except ValueError as error:
            self.refuse(trial, overrides, str(error))
            return None
        self.trials.begin(trial, job.name)
        if job.name in self.running:
            self.running[job.name].append(trial)
            return None
        before = self._known.get(job.name)
        if before is None and self.trials.pruned_run(job.name) and job.state != "skipped":
            job.state, job.reason = "pruned", "pruned by an earlier start"
        if before is not None or job.state != "waiting":
            self.keep(before or job)
            self.settle(trial, before or job)
            return None
        self.keep(job)
        self.running[job.name] = [trial]
        return job

    def keep(self, job: SweepJob) -> None:
        """Take a job up, once."""
        if job.name not in self._known:
            self._known[job.name] = job
            self.jobs.append(job)

    def refuse(self, trial: Trial, overrides: Sequence[str], reason: str) -> None:
        """Note a trial whose values can't run together."""
        self.trials.fail(trial, reason)
        self.failed[f"trial {trial.number}"] = reason
        self.say(f"FAILED  trial {trial.number} ({' '.join(overrides)}): {reason}")

    def settle(self, trial: Trial, job: SweepJob) -> None:
        """Tell Optuna what became of a trial."""
        if job.state in ("done", "skipped"):
            value = self.trials.complete(trial, job.folder)
            if value is None:
                job.state, job.reason = "failed", f"its metrics.csv has no number in {self.trials.metric}"
        if job.state == "pruned":
            self.trials.prune(trial, job.folder)
        elif job.state == "failed":
            self.trials.fail(trial, job.reason or "")
            self.failed[job.name] = job.reason or ""

    def started(self, job: SweepJob) -> None:
        """Learn that a trial's run started."""
        self.watcher.started(job)

    def ended(self, job: SweepJob, last_lines: Sequence[str]) -> None:
        """Learn that a run ended; one that was interrupted stays open for the next start."""
        for trial in self.running.pop(job.name):
            self.settle(trial, job)
        self.watcher.ended(job, last_lines)

    def tick(self) -> None:
        """Look at the running trials now and then."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            for job in self.jobs:
                if job.state == "running" and job.unwanted is None:
                    self.look(job)
        self.watcher.tick()

    def look(self, job: SweepJob) -> None:
        """Report a run's epochs, and want it no more where the pruner says so."""
        trial, *_ = self.running[job.name]
        epoch = self.trials.report(trial, job.folder)
        if epoch is not None:
            job.unwanted = f"ended after epoch {epoch}: too far behind the other trials ({self.trials.pruner} pruner)"

    def headline(self) -> str:
        """Return how far the search is."""
        best = self.trials.best()
        text = f"{self.trials.summary('running')} of {self.trials.most} trials"
        return text if best is None else f"{text}, best {self.trials.metric} {best.value:.4f} (trial {best.number})"
