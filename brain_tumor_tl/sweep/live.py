"""Live: shows a running sweep, as a live table on a terminal, else as plain lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from brain_tumor_tl.console import say
from brain_tumor_tl.files import read_json
from brain_tumor_tl.sweep.child import CONSOLE
from brain_tumor_tl.sweep.manifest import FINISHED, JobState, SweepJob, read_metrics

REFRESH_SECONDS, LINE_SECONDS = 1.0, 60.0
SHOWN: tuple[JobState, ...] = ("running", "pruned", "failed", "interrupted", "waiting")
NO_DEVICES = "waiting for devices that another sweep holds"


def progress_of(job: SweepJob) -> tuple[str, str, str]:
    """Return a running job's epoch, accuracy on the monitored split, and time left, `-` if not known yet."""
    rows = read_metrics(job.folder)
    epoch = int(rows[-1]["epoch"]) if rows else 0
    accuracies = [row[name] for row in rows for name in ("val/accuracy", "test/accuracy") if name in row]
    seconds = sum(value for row in rows for name, value in row.items() if name.startswith("seconds/"))
    left = seconds / len(rows) * max(job.max_epochs - epoch, 0) if rows else None
    return f"{epoch}/{job.max_epochs}", percent(accuracies[-1] if accuracies else None), duration(left)


def final_accuracy(folder: Path) -> float | None:
    """Return the accuracy of a finished run, None if its folder has none."""
    try:
        return float(read_json(folder / "results.json")["accuracy"])
    except (ValueError, KeyError, TypeError):
        return None


def outcome(folder: Path) -> str:
    """Return the figure of a finished run: its accuracy, or of a trial what its search goes by."""
    try:
        trial = read_json(folder / "results.json")["trial"]
        return f"{trial['metric']} {trial['value']:.4f}"
    except (ValueError, KeyError, TypeError):
        return f"accuracy {percent(final_accuracy(folder))} %"


def percent(fraction: float | None) -> str:
    """Return a fraction in percent, `-` for None.

    >>> percent(0.8897)
    '88.97'
    """
    return "-" if fraction is None else f"{100 * fraction:.2f}"


def duration(seconds: float | None) -> str:
    """Return seconds in the usual units, `-` for None.

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
    """Shows a sweep's jobs, as a table while `with view.live:` lasts.

    Args:
        jobs: The jobs, whose states change while they are shown.
        console: The console.
    """

    def __init__(self, jobs: Sequence[SweepJob], console: Console) -> None:
        self.jobs, self.console = jobs, console
        self.headline: Callable[[], str] = lambda: counts(jobs)  # the progress of the whole sweep
        self.live = Live(console=console, auto_refresh=False, transient=True)  # silent without a terminal
        self._shown = time.monotonic()

    def changed(self, job: SweepJob, last_lines: Sequence[str] = ()) -> None:
        """Show that a job began or ended; for a failure, its last lines and the file with its whole output."""
        self.live.update(live_table(self.jobs, self.headline()), refresh=True)
        devices = f" on device{'s' * (len(job.devices) > 1)} {','.join(job.devices)}" if job.devices else ""
        texts: dict[JobState, str] = {
            "running": f"start   {job.name}{devices}",
            "done": f"done    {job.name}: {outcome(job.folder)}, {duration(job.seconds)}",
            "interrupted": f"stopped {job.name}; the same command resumes it",
            "pruned": f"pruned  {job.name}: {job.reason}",
            "failed": f"FAILED  {job.name}: {job.reason}",
        }
        if job.state != "running" or not self.console.is_terminal:  # where the table shows it
            say(texts[job.state], "bold red" if job.state == "failed" else None, self.console)
        if job.state == "failed":
            unsaid = [f"| {line}" for line in without_reason(last_lines, job.reason or "")]
            for line in [*unsaid, f"full output: {job.folder / CONSOLE}"]:
                say(f"        {line}", None, self.console)

    def tick(self) -> None:
        """Refresh the table once a second, or print a line once a minute."""
        now = time.monotonic()
        if now - self._shown < (REFRESH_SECONDS if self.console.is_terminal else LINE_SECONDS):
            return
        self._shown = now
        self.live.update(live_table(self.jobs, self.headline()), refresh=True)
        if not self.console.is_terminal:
            running = [(job.name, *progress_of(job)) for job in self.jobs if job.state == "running"]
            texts = [f"{name} epoch {epoch}, accuracy {value} %, {left} left" for name, epoch, value, left in running]
            say(f"{self.headline()}: {'; '.join(texts) or NO_DEVICES}", None, self.console)


def live_table(jobs: Sequence[SweepJob], headline: str) -> Group:
    """Return the live table: the headline, the failures, and a row for each running job."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for column in ("running", "device", "epoch", "accuracy", "left"):
        table.add_column(column, justify="left" if column == "running" else "right", no_wrap=True)
    for job in jobs:
        if job.state == "running":
            table.add_row(job.name, ",".join(job.devices) or "cpu", *progress_of(job))
    failed = [Text(f"failed: {job.name}: {job.reason}", style="red") for job in jobs if job.state == "failed"]
    starved = not table.rows and any(job.state == "waiting" for job in jobs)
    return Group(Text(headline, style="bold"), *failed, Text(NO_DEVICES) if starved else table)


def without_reason(lines: Sequence[str], reason: str) -> list[str]:
    """Return the last lines of a failed job without its reason; of an error of the user's only the error's own lines.

    >>> without_reason(["Data 40 images", "error: no a", "no b"], "no b")
    ['error: no a']
    >>> without_reason(["Traceback", "KeyError: 3"], "KeyError: 3")
    ['Traceback']
    """
    begin = max((number for number, line in enumerate(lines) if line.startswith("error: ")), default=0)
    return [line for line in lines[begin:] if line.removeprefix("error: ") != reason]


def counts(jobs: Sequence[SweepJob]) -> str:
    """Return how many jobs are in which state."""
    number = Counter("done" if job.state in FINISHED else job.state for job in jobs)
    known = [f"{number[state]} {state}" for state in SHOWN if number[state]]
    return f"{number['done']} of {len(jobs)} done" + "".join(f", {text}" for text in known)
