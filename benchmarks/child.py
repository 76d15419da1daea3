"""Child: run a command in its own process, measure wall time and peak memory, and read the run folder it leaves."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TICK = 0.02  # seconds between two polls of a child: the resolution of its wall time


@dataclass(frozen=True)
class Finished:
    """Time and memory that a child process took.

    Attributes:
        seconds: Wall time of the whole process, start-up included.
        peak_megabytes: Peak memory in 10**6 bytes, including mapped files, which the system can evict.
        own_megabytes: Peak memory without mapped files; None without /proc.
    """

    seconds: float
    peak_megabytes: float
    own_megabytes: float | None


def run(command: Sequence[str], each_tick: Callable[[float], None] | None = None) -> Finished:
    """Run a command and wait for it.

    Args:
        command: Program and arguments.
        each_tick: Called with the seconds since the start, every few hundredths of a second and at the end.

    Raises:
        RuntimeError: Its exit status is not 0; the message has the end of its output.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=output, stderr=subprocess.STDOUT)
        try:
            finished, status = wait_for(process.pid, started, each_tick or (lambda _: None))
            process.returncode = status
        finally:
            if process.returncode is None:
                process.kill()
        if status != 0:
            output.seek(0)
            raise RuntimeError(f"`{' '.join(command)}` ended with status {status}:\n{output.read()[-3000:]}")
    return finished


def wait_for(pid: int, started: float, each_tick: Callable[[float], None]) -> tuple[Finished, int]:
    """Poll a child until it ends; return its time and memory, and its exit status."""
    own: float | None = None
    while True:
        own = max(filter(None, (own, own_megabytes(pid))), default=None)
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        seconds = time.perf_counter() - started
        each_tick(seconds)
        if ended:
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
            return Finished(seconds, peak, own), os.waitstatus_to_exitcode(status)
        time.sleep(TICK)


def environment() -> dict[str, str]:
    """Return this process's environment variables with the checkout first in PYTHONPATH."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def own_megabytes(pid: int) -> float | None:
    """Return a process's memory without mapped files in 10**6 bytes, or None without /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else None


def train(folder: Path, *overrides: str, each_tick: Callable[[float], None] | None = None) -> Finished:
    """Run `brain-tumor-tl train` with its run folder at `folder`."""
    line = [sys.executable, "-m", "brain_tumor_tl", "train", f"hydra.run.dir={folder}", *overrides]
    return run(line, each_tick)


def epochs(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run folder's `metrics.csv`, one per epoch; empty cells are left out."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def steady(rows: Sequence[dict[str, float]]) -> Sequence[dict[str, float]]:
    """Return the epochs without the first, which fills caches; a single epoch is kept."""
    return rows[1:] or rows


def epoch_seconds(row: Mapping[str, float]) -> float:
    """Return the seconds of training and testing of an epoch of `metrics.csv`."""
    return row["seconds/train"] + row["seconds/test"]
