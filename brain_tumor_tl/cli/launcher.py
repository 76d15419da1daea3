"""Launcher: what `hydra/launcher=local` does: each job of a multirun is one single run in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.errors import CompactHydraException
from omegaconf import DictConfig

from brain_tumor_tl.cli.multirun import of_the_job, plan, quoted
from brain_tumor_tl.console import console
from brain_tumor_tl.files import read_json
from brain_tumor_tl.sweep.devices import Device, devices_needed, visible_devices
from brain_tumor_tl.sweep.leases import Leases, lease_folder
from brain_tumor_tl.sweep.live import FINISHED, LiveView
from brain_tumor_tl.sweep.manifest import Manifest, SweepJob
from brain_tumor_tl.sweep.queue import Queue, room, share_of_threads


def launch(
    loader: ConfigLoader,
    master: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    *,
    at_once: int | None,
    devices_per_job: int | None,
    jobs_per_device: int,
    fail_fast: bool,
) -> list[JobReturn]:
    """Run a batch of jobs, skipping what is finished, and return how each of them ended.

    Args:
        loader: Composes configurations from the YAML files of the command.
        master: The configuration of the multirun.
        job_overrides: What was typed for each job, in Hydra's grammar.
        at_once: Jobs at once; None for as many as the devices allow.
        devices_per_job: Devices of each job; None for what its `trainer.devices` says.
        jobs_per_device: Jobs that may share a device.
        fail_fast: End everything when the first job fails.

    Raises:
        CompactHydraException: The jobs can't be started as they are; nothing was.
    """
    setup_globals()
    pool = visible_devices(os.environ)
    jobs = plan(loader, master, job_overrides, lambda trainer: devices_needed(trainer, devices_per_job, len(pool)))
    folder = make_folder(master)
    manifest = Manifest(folder, ["brain-tumor-tl", "train", *sys.argv[1:]])
    manifest.write(jobs)
    skipped = sum(job.state == "skipped" for job in jobs)
    say(f"Sweep     {len(jobs)} jobs into {shown(folder)}" + (f", {skipped} finished before" if skipped else ""))
    stopped = run_queue(jobs, pool, manifest, at_once, jobs_per_device, fail_fast)
    manifest.write(jobs)
    tell_end(jobs, folder)
    if stopped is not None:
        say(f"Stopped by {signal.Signals(stopped).name}; the same command goes on.")
        sys.exit(128 + stopped)
    return job_returns(jobs)


def submit(
    start: Callable[[Sequence[Sequence[str]]], Any],
    loader: ConfigLoader,
    master: DictConfig,
    job_overrides: Sequence[Sequence[str]],
) -> list[JobReturn]:
    """Hand a batch of jobs to a cluster's scheduler, all but the finished ones, and wait for their end.

    Args:
        start: Starts jobs by their overrides and returns when all of them ended; it may raise when one failed.
        loader: Composes configurations from the YAML files of the command.
        master: The configuration of the multirun.
        job_overrides: What was typed for each job, in Hydra's grammar.

    Raises:
        CompactHydraException: The jobs can't be started as they are; nothing was.
    """
    setup_globals()
    jobs = plan(loader, master, job_overrides, lambda trainer: 0)
    manifest = Manifest(make_folder(master), ["brain-tumor-tl", "train", *sys.argv[1:]])
    manifest.write(jobs)
    waiting = [job for job in jobs if job.state == "waiting"]
    say(f"Sweep     {len(waiting)} of {len(jobs)} jobs to the scheduler; the others are finished")
    returned: Sequence[JobReturn | None] = [None] * len(waiting)
    try:
        if waiting:
            returned = start([[*of_the_job(job), f"name={quoted(job.name)}"] for job in waiting])
    except Exception as error:  # submitit's, for a job that was killed; the others may well be done
        say(f"WARNING: {error}")
    for job, result in zip(waiting, returned, strict=True):
        note_result(job, result)
    manifest.write(jobs)
    refresh_report(manifest.folder)
    tell_end(jobs, manifest.folder)
    return job_returns(jobs)


def note_result(job: SweepJob, result: JobReturn | None) -> None:
    """Write down how a submitted job ended.

    Args:
        job: The job.
        result: What it returned; None where that never came.
    """
    finished = (job.folder / "results.json").is_file()
    failed = not finished if result is None else result.status != JobStatus.COMPLETED
    job.state = "failed" if failed else "done"
    if failed:
        # The attribute, for the property would raise the error and write to the terminal.
        said = "" if result is None else str(result._return_value).strip()
        job.reason = said.splitlines()[-1] if said else "the logs below .submitit in the sweep's folder say why"


def make_folder(master: DictConfig) -> Path:
    """Return the sweep's folder, made if absent."""
    folder = Path(master.hydra.sweep.dir).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run_queue(
    jobs: Sequence[SweepJob],
    pool: Sequence[Device],
    manifest: Manifest,
    at_once: int | None,
    jobs_per_device: int,
    fail_fast: bool,
) -> int | None:
    """Run the jobs that are to be run; return the signal that stopped them, None where none did."""
    most = room(jobs, at_once, pool, jobs_per_device)
    threads = share_of_threads(min(most, len(jobs)), processors())
    with tempfile.TemporaryDirectory() as private, LiveView(jobs, console) as view:
        leases = Leases(pool, lease_folder(os.environ, Path(private)), jobs_per_device)
        watcher = Bookkeeper(jobs, view, manifest)
        stopped = Queue(jobs, leases, most, watcher, threads=threads, fail_fast=fail_fast).run()
        watcher.refresh()
    return stopped


class Bookkeeper:
    """Is told by the queue how jobs stand; keeps manifest, view and report up to date.

    Args:
        jobs: The jobs.
        view: What a person sees.
        manifest: `sweep.json`.
    """

    def __init__(self, jobs: Sequence[SweepJob], view: LiveView, manifest: Manifest) -> None:
        self.jobs, self.view, self.manifest = jobs, view, manifest
        self._stale = False

    def started(self, job: SweepJob) -> None:
        """Note a start."""
        self.manifest.write(self.jobs)
        self.view.started(job)

    def ended(self, job: SweepJob, last_lines: Sequence[str]) -> None:
        """Note an end; the report follows once free devices have their next jobs."""
        self.manifest.write(self.jobs)
        self.view.ended(job, last_lines)
        self._stale = True

    def tick(self) -> None:
        """Do what can wait."""
        self.refresh()
        self.view.tick()

    def refresh(self) -> None:
        """Write the sweep's report anew where a job ended since; a report that fails must not end the sweep."""
        if not self._stale:
            return
        self._stale = False
        try:
            refresh_report(self.manifest.folder)
        except Exception as error:
            self.view.say(f"WARNING: the report of {self.manifest.folder} can't be written: {error}")


def refresh_report(folder: Path) -> None:
    """Write the report of a sweep's folder anew."""
    from brain_tumor_tl.cli.report import refresh

    refresh(folder)


def say(text: str) -> None:
    """Write one line."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def shown(folder: Path) -> str:
    """Return a folder as one would type it here."""
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tell_report(folder: Path) -> None:
    """Print the tables of a sweep's folder, and what is missing from them."""
    from brain_tumor_tl.cli.report import make_report, show  # matplotlib comes with it

    with suppress(ValueError):  # no job has left anything to tell of
        show(make_report([folder], Path.cwd()))


def tell_end(jobs: Sequence[SweepJob], folder: Path) -> None:
    """Print the table of what is finished, and what is not."""
    tell_report(folder)
    finished = sum(job.state in FINISHED for job in jobs)
    say(f"Done      {finished} of {len(jobs)} in {shown(folder)}")
    say(f"Next      brain-tumor-tl report {shown(folder)}")


def job_returns(jobs: Sequence[SweepJob]) -> list[JobReturn]:
    """Return what Hydra's sweepers want to know of each job; an error for each that is not finished."""
    missing = [job.name for job in jobs if job.state not in FINISHED]
    error = CompactHydraException(
        f"{len(missing)} of {len(jobs)} jobs are not finished: {', '.join(missing)}. The same command runs them again."
    )
    returns = []
    for job in jobs:
        result = JobReturn(overrides=job.overrides, working_dir=str(job.folder), task_name=job.name)
        finished = job.state in FINISHED
        result.status = JobStatus.COMPLETED if finished else JobStatus.FAILED
        result.return_value = read_json(job.folder / "results.json") if finished else error
        returns.append(result)
    return returns
