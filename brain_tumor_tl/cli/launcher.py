"""Launcher: what `hydra/launcher=local` and `slurm` do: each job of a multirun is a single run in its own process."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from brain_tumor_tl.cli import report
from brain_tumor_tl.cli.multirun import Lines, plan_jobs
from brain_tumor_tl.cli.overrides import parsed, quoted
from brain_tumor_tl.console import console, say
from brain_tumor_tl.files import read_json
from brain_tumor_tl.sweep.devices import Device, visible_devices
from brain_tumor_tl.sweep.leases import Leases, lease_folder
from brain_tumor_tl.sweep.live import LiveView
from brain_tumor_tl.sweep.manifest import FINISHED, Manifest, SweepJob
from brain_tumor_tl.sweep.queue import Queue

if TYPE_CHECKING:
    from brain_tumor_tl.sweep.search.trial_source import TrialSource


def launch(loader: ConfigLoader, master: DictConfig, lines: Lines) -> list[JobReturn]:
    """Run a batch of jobs on this machine, skipping finished ones, and return how each of them ended; see `planned`."""
    pool = visible_devices(os.environ)
    jobs, manifest = planned(loader, master, lines, pool)
    books = Bookkeeper(jobs, manifest)
    skipped = sum(job.state == "skipped" for job in jobs)
    say(f"Sweep     {len(jobs)} jobs into {shown(books.folder)}" + (f", {skipped} finished before" if skipped else ""))
    run_queue(books, pool, master.hydra.launcher, jobs, partial(tell_end, jobs, books.folder))
    return job_returns(jobs)


def submit(start: Callable[[Lines], Any], loader: ConfigLoader, master: DictConfig, lines: Lines) -> list[JobReturn]:
    """Submit a batch of jobs to a cluster's scheduler, except finished ones, and wait until they end; see `planned`.

    Args:
        start: Starts jobs by their overrides and returns when all of them ended; it may raise if one failed.
        loader: Composes configurations.
        master: The configuration of the multirun.
        lines: The overrides of each job.
    """
    jobs, manifest = planned(loader, master, lines)
    manifest.write(jobs)
    waiting = [job for job in jobs if job.state == "waiting"]
    say(f"Sweep     {len(waiting)} of {len(jobs)} jobs to the scheduler; the others are finished")
    returned: Sequence[JobReturn | None] = [None] * len(waiting)
    try:
        if waiting:
            returned = start([job_line(job, master.sweep) for job in waiting])
    except Exception as error:  # of submitit, for a job that was killed; the others may well be done
        say(f"WARNING: {error}")
    for job, result in zip(waiting, returned, strict=True):
        note_result(job, result)
    manifest.write(jobs)
    report.refresh(manifest.folder)
    tell_end(jobs, manifest.folder)
    return job_returns(jobs)


def planned(
    loader: ConfigLoader, master: DictConfig, lines: Lines, pool: Sequence[Device] | None = None
) -> tuple[list[SweepJob], Manifest]:
    """Return the jobs of a batch and the manifest of their sweep, whose folder is created.

    Args:
        loader: Composes configurations from the YAML files of the command.
        master: The configuration of the multirun.
        lines: The overrides of each job.
        pool: The devices that the jobs share; None if a scheduler assigns devices.

    Raises:
        CompactHydraException: The jobs can't be started as they are; none was.
    """
    setup_globals()
    return plan_jobs(loader, master, lines, pool), open_manifest(master, "train")


def job_line(job: SweepJob, sweep: str) -> list[str]:
    """Return the overrides of a submitted job; of Hydra's own settings, which the multirun has, only its folder."""
    own = [line for line in job.overrides if not parsed(line).key_or_group.startswith("hydra")]
    place = "" if job.folder.name == job.name else f"hydra.sweep.subdir={quoted(job.folder.name)}"
    return [*own, f"name={quoted(job.name)}", f"sweep={quoted(sweep)}", *filter(None, [place])]


def note_result(job: SweepJob, result: JobReturn | None) -> None:
    """Record how a submitted job ended.

    Args:
        job: The job.
        result: What it returned; None if it was killed.
    """
    done = result.status == JobStatus.COMPLETED if result else (job.folder / "results.json").is_file()
    job.state = "done" if done else "failed"
    if not done:
        error = getattr(result, "_return_value", "")  # the property `return_value` prints this error, then raises it
        job.reason = str(error).strip().rpartition("\n")[2] or "see the logs in .submitit of the sweep's folder"


class Bookkeeper:
    """Keeps manifest, view and report of a sweep up to date; the queue tells it of every change.

    Args:
        jobs: The jobs.
        manifest: `sweep.json`.
    """

    def __init__(self, jobs: Sequence[SweepJob], manifest: Manifest) -> None:
        self.jobs, self.manifest, self.folder = jobs, manifest, manifest.folder
        self.view = LiveView(jobs, console)
        self._stale = False

    def changed(self, job: SweepJob, last_lines: Sequence[str] = ()) -> None:
        """Record a start or an end; the report is written once free devices have their next jobs."""
        self.manifest.write(self.jobs)
        self.view.changed(job, last_lines)
        self._stale |= job.state != "running"

    def tick(self) -> None:
        """Do what is not urgent."""
        self.refresh()
        self.view.tick()

    def refresh(self) -> None:
        """Rewrite the sweep's report if a job ended since."""
        if self._stale:
            self._stale = False
            report.refresh(self.folder)


def run_queue(
    books: Bookkeeper,
    pool: Sequence[Device],
    limits: DictConfig,
    expected: Sequence[SweepJob],
    tell: Callable[[], None],
    source: TrialSource | None = None,
) -> None:
    """Run the waiting jobs, and those of a source; exit as shells expect if a signal stopped them.

    Args:
        books: Records what happens.
        pool: The devices.
        limits: How the jobs share the machine, the `launcher` keys.
        expected: The jobs that there will be, or as many like them.
        tell: Prints what came of them.
        source: Supplies further jobs, and is informed of every change in place of `books`.
    """
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    at_once = min(jobs_at_once(expected, limits, len(pool)), len(expected))
    with tempfile.TemporaryDirectory() as private, books.view.live:
        leases = Leases(pool, lease_folder(os.environ, Path(private)), limits.jobs_per_device)
        ask = source.next if source else None
        stopped = Queue(books.jobs, leases, at_once, source or books, processors, limits.fail_fast, ask).run()
        books.refresh()
    books.manifest.write(books.jobs)
    tell()
    if stopped is not None:
        say(f"Stopped by {signal.Signals(stopped).name}; the same command resumes.")
        sys.exit(128 + stopped)


def jobs_at_once(jobs: Sequence[SweepJob], limits: DictConfig, devices: int) -> int:
    """Return how many jobs may run at a time: by default as many as the devices allow, one on the processor."""
    return limits.jobs or (devices * limits.jobs_per_device if any(job.needs for job in jobs) else 1)


def open_manifest(master: DictConfig, verb: str) -> Manifest:
    """Return the manifest of the sweep's folder, which is created if absent, for this command line of a verb."""
    folder = Path(master.hydra.sweep.dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return Manifest(folder, ["brain-tumor-tl", verb, *sys.argv[1:]])


def shown(folder: Path) -> str:
    """Return a folder relative to the working directory if it is inside it."""
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def tell_report(folder: Path) -> None:
    """Print the tables of a sweep's folder, and what is missing from them."""
    with suppress(ValueError):  # no job has left a run
        report.show(report.make_report([folder], Path.cwd()), reasons=False)  # they were told when the jobs ended


def tell_end(jobs: Sequence[SweepJob], folder: Path) -> None:
    """Print the tables of the finished jobs, and what to do next."""
    tell_report(folder)
    finished = sum(job.state in FINISHED for job in jobs)
    say(f"Done      {finished} of {len(jobs)} in {shown(folder)}")
    say(f"Next      brain-tumor-tl report {shown(folder)}")


def job_returns(jobs: Sequence[SweepJob]) -> list[JobReturn]:
    """Return what Hydra's sweepers expect of each job.

    Raises:
        CompactHydraException: Some are not finished.
    """
    if missing := [job.name for job in jobs if job.state not in FINISHED]:
        names = ", ".join(missing)
        raise CompactHydraException(
            f"{len(missing)} of {len(jobs)} jobs are not finished: {names}. The same command runs them again."
        )
    done = JobStatus.COMPLETED
    returns = [JobReturn(job.overrides, working_dir=str(job.folder), task_name=job.name, status=done) for job in jobs]
    for job, returned in zip(jobs, returns, strict=True):
        returned.return_value = read_json(job.folder / "results.json")
    return returns
