"""Queue: starts jobs as devices become free, waits for each, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from brain_tumor_tl.sweep.child import Child, child_environment, failure_reason
from brain_tumor_tl.sweep.leases import Lease, Leases
from brain_tumor_tl.sweep.manifest import SweepJob

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL; a second Ctrl-C cuts it short
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Watcher(Protocol):
    """What the queue informs of its jobs."""

    def changed(self, job: SweepJob, last_lines: Sequence[str] = ()) -> None:
        """Handle the start of a job, or its end with the last lines that it printed."""

    def tick(self) -> None:
        """Do periodic work; called several times a second."""


@dataclass
class Queue:
    """Runs jobs in parallel.

    Attributes:
        jobs: The jobs; those whose state is "waiting" are started.
        leases: Where devices come from.
        at_once: Maximum number of jobs at a time.
        watcher: Is informed of every change.
        processors: Processors that the jobs share; None leaves the number of their threads to PyTorch.
        fail_fast: End everything at the first failure.
        source: Returns one more job, None if there is none now. It is asked when there is a free place, so a search
            can choose the next job from the results of the earlier ones.
        grace_seconds: Time that a job gets to end by itself after SIGTERM.
        waiting: The jobs to start, the largest first, which would otherwise wait until all small ones are done.
        running: The jobs that run now.
        failed: Whether a job failed.
        signals: The received signals that ask to stop.
    """

    jobs: Sequence[SweepJob]
    leases: Leases
    at_once: int
    watcher: Watcher
    processors: int | None = None
    fail_fast: bool = False
    source: Callable[[], SweepJob | None] | None = None
    grace_seconds: float = GRACE_SECONDS
    waiting: list[SweepJob] = field(default_factory=list)
    running: list[Child] = field(default_factory=list)
    failed: bool = False
    signals: Sequence[int] = ()

    def run(self) -> int | None:
        """Run all jobs; return the signal that stopped the queue early, None if none did."""
        self.waiting = sorted((job for job in self.jobs if job.state == "waiting"), key=lambda job: -job.needs)
        with received_signals() as self.signals:
            try:
                while not self.stopping() and self.has_work():
                    self.start_what_fits()
                    self.watcher.tick()
                    time.sleep(POLL_SECONDS)
                    self.collect()
            finally:
                self.end_all()
        return self.signals[0] if self.signals else None

    def stopping(self) -> bool:
        """Tell whether to start no further job and to end the running ones."""
        return bool(self.signals) or (self.fail_fast and self.failed)

    def has_work(self) -> bool:
        """Take jobs from the source while there are free places; tell whether any job is waiting or running."""
        while self.source and len(self.waiting) + len(self.running) < self.at_once and (job := self.source()):
            self.waiting.append(job)
        return bool(self.waiting or self.running)

    def start_what_fits(self) -> None:
        """Start waiting jobs while there are free places and devices for them."""
        refused: set[int] = set()  # numbers of devices that were not free in this round
        for job in list(self.waiting):
            if len(self.running) >= self.at_once or self.stopping():
                return
            lease = None if job.needs in refused else self.leases.take(job.needs)
            if lease is None:
                refused.add(job.needs)
            else:
                self.waiting.remove(job)
                self.start(job, lease)

    def start(self, job: SweepJob, lease: Lease) -> None:
        """Start a job on its devices."""
        threads = None
        if self.processors and self.at_once > 1:
            threads = max(1, self.processors // (self.at_once * job.processes))
        job.exit_status = job.reason = job.seconds = None
        try:
            environment = child_environment(os.environ, lease.devices, self.leases.devices, threads)
            self.running.append(Child(job, lease, environment))
        except OSError as error:
            self.leases.give_back(lease)
            job.state, job.reason = "failed", f"its process can't be started: {error}"
            self.failed = True
        else:
            job.state, job.devices = "running", [device.name for device in lease.devices]
        self.watcher.changed(job)

    def collect(self) -> None:
        """Record which jobs ended, and end those that are to be pruned, without waiting for them."""
        for child in list(self.running):
            status = child.process.poll()
            if status is not None:
                self.running.remove(child)
                self.finish(child, status)
            elif child.job.unwanted is not None:
                child.end(self.grace_seconds)

    def finish(self, child: Child, status: int) -> None:
        """Record how a job ended."""
        child.clean_up()
        self.leases.give_back(child.lease)
        job, lines = child.job, child.last_lines()
        job.exit_status, job.seconds = status, round(time.time() - child.started, 3)
        if status == 0:
            job.state = "done"
        elif child.asked_to_end is None:
            job.state, job.reason = "failed", failure_reason(status, lines)
        elif job.unwanted is not None:
            job.state, job.reason = "pruned", job.unwanted
        else:
            job.state, job.reason = "interrupted", "the sweep was stopped"
        self.watcher.changed(job, lines)
        self.failed |= job.state == "failed"

    def end_all(self) -> None:
        """End every running job: ask, wait, then kill; a further signal to the launcher ends the waiting."""
        before = len(self.signals)
        while self.running:
            for child in self.running:
                child.end(self.grace_seconds if len(self.signals) == before else 0)
            time.sleep(POLL_SECONDS)
            self.collect()
            self.watcher.tick()


@contextmanager
def received_signals() -> Iterator[list[int]]:
    """Yield a list that collects the signals that ask this process to end, in place of ending it."""
    received: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other can handle signals
        for number in STOPPING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # as below nohup
                before[number] = signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
