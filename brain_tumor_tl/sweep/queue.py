"""Queue: starts jobs as devices become free, sees each to its end, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Protocol

from brain_tumor_tl.sweep.child import Child, child_environment, reason_of
from brain_tumor_tl.sweep.devices import Device
from brain_tumor_tl.sweep.leases import Lease, Leases
from brain_tumor_tl.sweep.manifest import SweepJob

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0  # from SIGTERM to SIGKILL; a second Ctrl-C cuts it short
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Watcher(Protocol):
    """Whoever is told how the jobs stand."""

    def started(self, job: SweepJob) -> None:
        """Learn that a job runs now."""

    def ended(self, job: SweepJob, last_lines: Sequence[str]) -> None:
        """Learn that a job came to its end, with the last lines it printed."""

    def tick(self) -> None:
        """Have a moment, several times a second."""


def no_more() -> SweepJob | None:
    """Return the next job of a sweep whose jobs are all known: none."""
    return None


class Queue:
    """Runs jobs side by side.

    Args:
        jobs: All jobs of the sweep; those whose state is "waiting" are started.
        leases: Where devices come from.
        at_once: Most jobs at a time.
        threads: Processor threads of each job, by its number of processes; None leaves them alone.
        fail_fast: End everything at the first failure.
        source: Returns one more job where there is room for it; None where there is none now. Asked again after each
            end, so that what a job gave can tell what the next one is.
        watcher: Is told of every change.
        grace_seconds: Time that an interrupted job gets to end by itself.
    """

    def __init__(
        self,
        jobs: Sequence[SweepJob],
        leases: Leases,
        at_once: int,
        watcher: Watcher,
        *,
        threads: Callable[[int], int | None] = lambda processes: None,
        fail_fast: bool = False,
        source: Callable[[], SweepJob | None] = no_more,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self.leases, self.at_once, self.watcher, self.threads = leases, at_once, watcher, threads
        self.jobs, self.fail_fast, self.grace_seconds = list(jobs), fail_fast, grace_seconds
        self.source = source
        # The largest first: it would else wait until a sweep of small jobs is over.
        self.waiting = sorted((job for job in jobs if job.state == "waiting"), key=lambda job: -job.needs)
        self.running: list[Child] = []
        self.interrupts = Interrupts()

    def run(self) -> int | None:
        """Run all jobs; return the signal that stopped the queue early, None where none did."""
        with self.interrupts:
            try:
                while not self.stopping() and self.has_work():
                    self.start_what_fits()
                    self.watcher.tick()
                    self.end_unwanted()
                    time.sleep(POLL_SECONDS)
                    self.collect()
            finally:
                self.end_all()
        return self.interrupts.received[0] if self.interrupts.received else None

    def stopping(self) -> bool:
        """Tell whether no further job is to start and the running ones are to end."""
        failed = self.fail_fast and any(job.state == "failed" for job in self.jobs)
        return failed or bool(self.interrupts.received)

    def has_work(self) -> bool:
        """Take jobs from the source while there is room for them; tell whether any job waits or runs."""
        while len(self.waiting) + len(self.running) < self.at_once and (job := self.source()) is not None:
            self.jobs.append(job)
            self.waiting.append(job)
        return bool(self.waiting or self.running)

    def start_what_fits(self) -> None:
        """Start waiting jobs while there are room and devices for them."""
        refused: set[int] = set()  # where so many devices are not free, no job gets as many in this round
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
        environment = child_environment(os.environ, lease.devices, self.leases.devices, self.threads(job.processes))
        job.exit_status = job.reason = job.seconds = None
        try:
            self.running.append(Child(job, lease, environment))
        except OSError as error:
            self.leases.give_back(lease)
            job.state, job.reason = "failed", f"its process can't be started: {error}"
            self.watcher.ended(job, [])
            return
        job.state, job.devices = "running", [device.name for device in lease.devices]
        self.watcher.started(job)

    def end_unwanted(self) -> None:
        """End the running jobs that nobody wants any more, without waiting for their end."""
        for child in self.running:
            if child.job.unwanted is not None:
                child.end(self.grace_seconds)

    def collect(self, stopped: bool = False) -> None:
        """Note which jobs ended.

        Args:
            stopped: Whether they were told to end, which is no failure.
        """
        ended = [(child, status) for child in self.running if (status := child.poll()) is not None]
        for child, status in ended:
            self.running.remove(child)
            child.clear_up()
            self.leases.give_back(child.lease)
            self.note_end(child, status, stopped)

    def note_end(self, child: Child, status: int, stopped: bool) -> None:
        """Write the end of a job's process down."""
        job, lines = child.job, child.last_lines()
        job.exit_status, job.seconds = status, round(time.time() - child.started, 3)
        if status == 0:
            job.state, job.reason = "done", None
        elif child.told_to_end is not None:
            job.state, job.reason = "pruned", job.unwanted
        elif stopped:
            job.state, job.reason = "interrupted", "the sweep was stopped"
        else:
            job.state, job.reason = "failed", reason_of(status, lines)
        self.watcher.ended(job, lines)

    def end_all(self) -> None:
        """End every running job: ask, wait, then kill; a further signal to the launcher skips the waiting."""
        for child in self.running:
            child.signal(signal.SIGTERM)
        deadline, heard = time.monotonic() + self.grace_seconds, len(self.interrupts.received)
        while self.running and time.monotonic() < deadline and len(self.interrupts.received) <= heard:
            self.collect(stopped=True)
            self.watcher.tick()
            time.sleep(POLL_SECONDS)
        for child in self.running:
            child.signal(signal.SIGKILL)
        for child in self.running:
            child.process.wait()
        self.collect(stopped=True)


class Interrupts:
    """Remembers signals that ask this process to end, in place of ending, while the context lasts."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        """Listen; only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        """Put back what was."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)


def share_of_threads(at_once: int, processors: int) -> Callable[[int], int | None]:
    """Return how many processor threads a job gets, by its number of processes; None for a job alone.

    Args:
        at_once: Jobs at a time.
        processors: Processors that the sweep may use.
    """

    def share(processes: int) -> int | None:
        return None if at_once == 1 else max(1, processors // (at_once * processes))

    return share


def room(jobs: Sequence[SweepJob], setting: int | None, pool: Sequence[Device], jobs_per_device: int) -> int:
    """Return how many jobs may run at once: what is asked for, else one for each device, else one.

    Args:
        jobs: The jobs.
        setting: `launcher.jobs`.
        pool: The sweep's devices.
        jobs_per_device: Jobs that share a device.
    """
    on_devices = any(job.needs for job in jobs)
    return setting or (len(pool) * jobs_per_device if on_devices else 1)
