"""Manifest: `sweep.json`, the list of a sweep's jobs and their states."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from brain_tumor_tl.cache import locked
from brain_tumor_tl.files import read_csv, read_json, write_json

SCHEMA = 1  # of sweep.json; raise it when a key changes its meaning
FILE = "sweep.json"

# "skipped": finished in an earlier start; "waiting" after the end: never started; "interrupted": can be resumed;
# "pruned": ended early by a search.
JobState = Literal["waiting", "running", "done", "failed", "skipped", "interrupted", "pruned"]
FINISHED: tuple[JobState, ...] = ("done", "skipped")


@dataclass
class SweepJob:
    """One job of a sweep: a single run in its own process.

    Attributes:
        name: Name of its folder.
        folder: Its run folder.
        overrides: Its overrides, in Hydra's grammar.
        command: The command that runs it.
        model: Name of its network.
        method: Name of its method.
        seed: Its seed.
        needs: Number of devices; 0 on the processor.
        processes: Number of processes that it computes in.
        max_epochs: Number of its epochs.
        state: Its state.
        exit_status: Of its process; negative for the signal that killed it, None while it has not ended.
        reason: Why it failed or was pruned, in one line.
        seconds: How long its process ran.
        devices: Names of its devices.
        unwanted: Why it is to be pruned; None while it may continue.
    """

    name: str
    folder: Path
    overrides: list[str]
    command: list[str]
    model: str = ""
    method: str = ""
    seed: int = 0
    needs: int = 0
    processes: int = 1
    max_epochs: int = 1
    state: JobState = "waiting"
    exit_status: int | None = None
    reason: str | None = None
    seconds: float | None = None
    devices: list[str] = field(default_factory=list)
    unwanted: str | None = None

    def entry(self, root: Path) -> dict[str, Any]:
        """Return the job's entry in `sweep.json`, its folder relative to `root`."""
        shown = ("overrides", "model", "method", "seed", "state", "exit_status", "reason", "seconds", "devices")
        folder = Path(os.path.relpath(self.folder, root)).as_posix()
        return {"name": self.name, "folder": folder} | {name: getattr(self, name) for name in shown}


class Manifest:
    """Writes `sweep.json` atomically; it keeps the jobs of other sweeps in the same folder.

    Args:
        folder: The sweep's folder.
        command: The command line that started the sweep.
    """

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self.folder, self.command = folder, list(command)
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

    def write(self, jobs: Sequence[SweepJob]) -> None:
        """Write the states of these jobs; other jobs in the file stay."""
        path = self.folder / FILE
        with locked(path.with_name(f".{FILE}.lock")):
            entries = {entry["name"]: entry for entry in read_entries(path)}
            entries |= {job.name: job.entry(self.folder) for job in jobs}
            content = {"schema": SCHEMA, "command": self.command, "started": self.started}
            write_json(path, content | {"jobs": list(entries.values())})


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Return the rows of a run's `metrics.csv`, without missing values; empty if it can't be read."""
    try:
        rows = read_csv(folder / "metrics.csv")
        return [{name: float(text) for name, text in row.items() if text} for row in rows if row.get("epoch")]
    except (ValueError, TypeError):
        return []


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Return the jobs in a `sweep.json`, empty if it is absent or has another schema."""
    try:
        content = read_json(path)
        entries = content["jobs"] if content["schema"] == SCHEMA else []
        return [dict(entry) for entry in entries if "name" in entry]
    except (ValueError, KeyError, TypeError):
        return []
