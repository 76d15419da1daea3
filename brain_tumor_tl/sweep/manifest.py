"""Manifest: `sweep.json`, the list of a sweep's jobs and how each of them stands."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from brain_tumor_tl.cache import locked
from brain_tumor_tl.files import write_json

SCHEMA = 1  # of sweep.json; raise it when a key changes its meaning
FILE = "sweep.json"

# "skipped" was finished by an earlier start; "waiting" after the end was never started; "interrupted" resumes;
# "pruned" was ended by a search that expects nothing of it.
JobState = Literal["waiting", "running", "done", "failed", "skipped", "interrupted", "pruned"]


@dataclass
class SweepJob:
    """One job of a sweep: an ordinary single run in a process of its own.

    Attributes:
        name: Name of its folder.
        folder: Its run folder.
        overrides: What was typed for it, in Hydra's grammar.
        command: What starts it.
        model: Name of its network.
        method: Name of its method.
        seed: Its seed.
        needs: Number of devices that it is given; 0 on the processor.
        processes: Number of processes that it computes in.
        max_epochs: Number of its epochs.
        state: How it stands.
        exit_status: Of its process; negative for the signal that killed it, None before its end.
        reason: Why it failed or was pruned, in one line.
        seconds: How long its process ran.
        devices: Names of the devices that it was given.
        unwanted: Why its process is to end before its time; None while it may go on.
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
        """Return the job as `sweep.json` lists it, its folder relative to `root`."""
        shown = ("overrides", "model", "method", "seed", "state", "exit_status", "reason", "seconds", "devices")
        folder = Path(os.path.relpath(self.folder, root)).as_posix()
        return {"name": self.name, "folder": folder} | {name: getattr(self, name) for name in shown}


class Manifest:
    """Keeps `sweep.json`, whole at every moment; other sweeps' jobs in the same folder stay listed.

    Args:
        folder: The sweep's folder.
        command: The command line that started the sweep.
    """

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self.folder, self.command = folder, list(command)
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

    def write(self, jobs: Sequence[SweepJob]) -> None:
        """Write how these jobs stand, beside those that are listed already."""
        path = self.folder / FILE
        with locked(path.with_name(f".{FILE}.lock")):
            entries = {entry["name"]: entry for entry in read_entries(path)}
            entries |= {job.name: job.entry(self.folder) for job in jobs}
            content = {"schema": SCHEMA, "command": self.command, "started": self.started}
            write_json(path, content | {"jobs": list(entries.values())})


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Return the jobs that a `sweep.json` lists, none where there is no such file or it holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = content["jobs"] if content["schema"] == SCHEMA else []
        return [dict(entry) for entry in entries if "name" in entry]
    except (OSError, ValueError, KeyError, TypeError):
        return []
