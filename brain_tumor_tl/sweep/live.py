"""Live: what a person sees of a running sweep: a view that moves, or plain lines where there is no terminal."""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from brain_tumor_tl.files import read_json
from brain_tumor_tl.reporting.leaderboard import percent
from brain_tumor_tl.sweep.child import CONSOLE
from brain_tumor_tl.sweep.manifest import JobState, SweepJob

REFRESH_SECONDS, LINE_SECONDS = 1.0, 60.0
FINISHED = ("done", "skipped")
SHOWN: tuple[JobState, ...] = ("running", "pruned", "failed", "interrupted", "waiting")
STARVED = "waiting for devices that another sweep holds"


@dataclass(frozen=True)
class Progress:
    """How far a run is: epochs done, accuracy of the monitored part, seconds left; None where unknown."""

    epoch: int = 0
    accuracy: float | None = None
    seconds_left: float | None = None


def progress_of(folder: Path, max_epochs: int) -> Progress:
    """Return how far a run is, from its `metrics.csv`."""
    try:
        with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            return Progress()
        epoch = int(rows[-1]["epoch"])
        accuracies = [row.get("val/accuracy") or row.get("test/accuracy") for row in rows]
        seen = [float(text) for text in accuracies if text]
        seconds = [float(text or 0) for row in rows for name, text in row.items() if name.startswith("seconds/")]
        left = sum(seconds) / len(rows) * max(max_epochs - epoch, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return Progress()
    return Progress(epoch, seen[-1] if seen else None, left)


def final_accuracy(folder: Path) -> float | None:
    """Return the accuracy of a finished run, None where its folder doesn't tell."""
    try:
        return float(read_json(folder / "results.json")["accuracy"])
    except (ValueError, KeyError, TypeError):
        return None


def duration(seconds: float | None) -> str:
    """Return seconds as a person says them.

    >>> duration(59), duration(3725), duration(None)
    ('59 s', '1 h 02 min', '-')
    """
    if seconds is None:
        return "-"
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class LiveView:
    """Shows a sweep's jobs.

    Args:
        jobs: The jobs, whose states change while they are shown.
        console: Where to write.
        headline: Returns how far all of it is; by default the counts of the jobs.
    """

    def __init__(self, jobs: Sequence[SweepJob], console: Console, headline: Callable[[], str] | None = None) -> None:
        self.jobs, self.console = jobs, console
        self.headline = headline or (lambda: counts(jobs))
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._shown = time.monotonic()

    def __enter__(self) -> LiveView:
        """Open the view."""
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it; what was printed above it stays."""
        if self._live:
            self._live.stop()

    def started(self, job: SweepJob) -> None:
        """Say that a job runs."""
        if not self._live:
            self.say(f"start   {job.name}{on_devices(job)}")
        self._show()

    def ended(self, job: SweepJob, last_lines: Sequence[str]) -> None:
        """Say how a job ended; of a failure at once its last lines and where the others are."""
        self._show()
        if job.state == "done":
            self.say(f"done    {job.name}: accuracy {percent(final_accuracy(job.folder))} %, {duration(job.seconds)}")
        elif job.state == "interrupted":
            self.say(f"stopped {job.name}; the same command resumes it")
        elif job.state == "pruned":
            self.say(f"pruned  {job.name}: {job.reason}")
        else:
            self.say(f"FAILED  {job.name}: {job.reason}", style="bold red")
            for line in last_lines:
                self.say(f"        | {line}")
            self.say(f"        all of it: {job.folder / CONSOLE}")

    def tick(self) -> None:
        """Bring the view up to date, or now and then write a line."""
        now = time.monotonic()
        if now - self._shown >= (REFRESH_SECONDS if self._live else LINE_SECONDS):
            self._shown = now
            if self._live:
                self._show()
            else:
                running = [f"{job.name} {progress_text(job)}" for job in self.jobs if job.state == "running"]
                self.say(f"{self.headline()}: {'; '.join(running) or STARVED}")

    def say(self, text: str, style: str | None = None) -> None:
        """Write one line."""
        self.console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)

    def _show(self) -> None:
        if self._live:
            self._live.update(view(self.jobs, self.headline()), refresh=True)


def view(jobs: Sequence[SweepJob], headline: str) -> Group:
    """Return the moving part: how far all of it is, and a row for each running job."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("running", "device", "epoch", "accuracy", "left"):
        table.add_column(column, justify="left" if column == "running" else "right", no_wrap=True)
    for job in jobs:
        if job.state == "running":
            now = progress_of(job.folder, job.max_epochs)
            epoch, devices = f"{now.epoch}/{job.max_epochs}", ",".join(job.devices) or "cpu"
            table.add_row(job.name, devices, epoch, percent(now.accuracy), duration(now.seconds_left))
    failed = [Text(f"failed: {job.name}: {job.reason}", style="red") for job in jobs if job.state == "failed"]
    starved = not table.rows and any(job.state == "waiting" for job in jobs)
    return Group(Text(headline, style="bold"), *failed, Text(STARVED) if starved else table)


def counts(jobs: Sequence[SweepJob]) -> str:
    """Return how many jobs stand how."""
    number = Counter("done" if job.state in FINISHED else job.state for job in jobs)
    known = [f"{number[state]} {state}" for state in SHOWN if number[state]]
    return f"{number['done']} of {len(jobs)} done" + "".join(f", {text}" for text in known)


def progress_text(job: SweepJob) -> str:
    """Return how far a job is, in words."""
    now = progress_of(job.folder, job.max_epochs)
    accuracy = "" if now.accuracy is None else f", accuracy {percent(now.accuracy)} %"
    left = "" if now.seconds_left is None else f", {duration(now.seconds_left)} left"
    return f"epoch {now.epoch}/{job.max_epochs}{accuracy}{left}"


def on_devices(job: SweepJob) -> str:
    """Return ` on device 0`, ` on devices 0,1`, or nothing for the processor."""
    if not job.devices:
        return ""
    return f" on device{'s' if len(job.devices) > 1 else ''} {','.join(job.devices)}"
