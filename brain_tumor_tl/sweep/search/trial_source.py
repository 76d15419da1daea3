"""Trial source: gives a queue the jobs of a search's trials, and reports to Optuna how they end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from optuna.trial import Trial

from brain_tumor_tl.console import say
from brain_tumor_tl.sweep.manifest import SweepJob
from brain_tumor_tl.sweep.queue import Watcher
from brain_tumor_tl.sweep.search.study import RUN, Study

REPORT_SECONDS = 1.0  # how often the metrics of running trials are read


@dataclass
class TrialSource:
    """The source and the watcher of a queue that runs a search.

    Attributes:
        study: The search's trials.
        plan: Returns the job of a trial from its overrides; raises ValueError if they can't run.
        jobs: The sweep's jobs, to which it appends.
        watcher: Is informed of every change.
        running: The trials by name of their run; several if the same values were suggested again.
        failed: Reasons of failures by name of the run or number of the trial.
    """

    study: Study
    plan: Callable[[Sequence[str]], SweepJob]
    jobs: list[SweepJob]
    watcher: Watcher
    running: dict[str, list[Trial]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _reported: float = 0.0

    def next(self) -> SweepJob | None:
        """Return the job of the next trial that needs one; None if there is none."""
        while found := self.study.next():
            if job := self.job_of(*found):
                return job
        return None

    def job_of(self, trial: Trial, overrides: Sequence[str]) -> SweepJob | None:
        """Return the job of a trial; None if its result is known, or a running job will give it."""
        try:
            job = self.plan(overrides)
        except ValueError as error:
            self.study.fail(trial, str(error))
            self.failed[f"trial {trial.number}"] = str(error)
            say(f"FAILED  trial {trial.number} ({' '.join(overrides)}): {error}")
            return None
        trial.set_user_attr(RUN, job.name)
        known = next((known for known in self.jobs if known.name == job.name), job)
        if known is job:
            self.jobs.append(job)
            if job.state == "waiting" and self.study.was_pruned(job.name):
                job.state, job.reason = "pruned", "pruned in an earlier start"
        if known.state in ("waiting", "running"):
            self.running.setdefault(job.name, []).append(trial)
            return job if known is job else None
        self.finish(trial, known)
        return None

    def finish(self, trial: Trial, job: SweepJob) -> None:
        """Record how a trial's job ended."""
        self.study.finish(trial, job)
        if job.state == "failed":
            self.failed[job.name] = job.reason or ""

    def changed(self, job: SweepJob, last_lines: Sequence[str] = ()) -> None:
        """Handle the start or the end of a run; an interrupted one stays open for the next start."""
        for trial in self.running.pop(job.name) if job.state != "running" else ():
            self.finish(trial, job)
        self.watcher.changed(job, last_lines)

    def tick(self) -> None:
        """Report the epochs of the running trials, once a second; what the pruner gives up is unwanted."""
        if time.monotonic() - self._reported >= REPORT_SECONDS:
            self._reported = time.monotonic()
            for job in self.jobs:
                if job.state == "running" and job.unwanted is None:
                    epoch = self.study.report(self.running[job.name][0], job.folder)
                    behind = f"too far behind the other trials ({self.study.pruner} pruner)"
                    job.unwanted = f"ended after epoch {epoch}: {behind}" if epoch is not None else None
        self.watcher.tick()

    def headline(self) -> str:
        """Return the progress of the search."""
        best = self.study.best()
        text = f"{self.study.summary('running')} of {self.study.max_trials} trials"
        return text if best is None else f"{text}, best {self.study.metric} {best.value:.4f} (trial {best.number})"
