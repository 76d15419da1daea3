"""Gather: the runs below some folders, finished or not, read from the folders alone, half-written ones included."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from brain_tumor_tl.files import read_json

SCHEMA = 1  # of results.json; raise it when a key changes its meaning
SWEEP_FILE = "sweep.json"
LOGS = ("console.log", "train.log")  # a launcher keeps all that a job prints, tracebacks included; a run its own words
LOCK = "run.lock"  # held by a run from before its first file to its end
STARTING = 60  # seconds from a launcher's note of a start to the run's lock, at most: importing takes its time
INSIDE_A_RUN = ("checkpoints", "tensorboard")
NEEDED: dict[str, type | tuple[type, ...]] = {
    "name": str, "model": str, "method": str, "seed": int, "epochs": int, "accuracy": (int, float),
    "seconds_per_epoch": dict, "protocol": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, and what its `results.json` holds."""

    folder: Path
    results: Mapping[str, Any]


@dataclass(frozen=True)
class Unfinished:
    """A run without results.

    Attributes:
            state: `waiting`, `running`, `cut`, `failed`, `skipped`, `interrupted`, `pruned`, `missing`, `unreadable`,
            or `cut or running` where nothing tells which.
        reason: What went wrong, as far as it is known.
        epochs: How many whole epochs it has done.
        log: Its log, None where there is none.
    """

    name: str
    state: str
    folder: Path
    reason: str = ""
    epochs: int = 0
    log: Path | None = None


@dataclass
class Gathered:
    """All that is below some folders, each run once."""

    runs: list[Run] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)

    def state(self) -> str:
        """Return how far all of it is.

        >>> Gathered(unfinished=[Unfinished("a", "failed", Path("a"))]).state()
        '0 of 1 runs done, 1 failed'
        """
        states = [run.state for run in self.unfinished]
        counts = [f"{states.count(state)} {state}" for state in sorted(set(states))]
        return ", ".join([f"{len(self.runs)} of {len(self.runs) + len(states)} runs done", *counts])


def gather(folders: Sequence[Path]) -> Gathered:
    """Return every run below some folders, at any depth.

    Raises:
        ValueError: A folder is absent, or there is no run below any.
    """
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent:
        raise ValueError(f"Expected folders of runs, these are none: {', '.join(absent)}.")
    found, seen = Gathered(), set()
    jobs: dict[Path, dict[str, Any]] = {}
    places = sorted({path for folder in folders for path in walk(folder)})
    for sweep in (place for place in places if (place / SWEEP_FILE).is_file()):
        jobs |= read_jobs(sweep, found)
    for folder in [*places, *(job["place"] for job in jobs.values())]:
        resolved = folder.resolve()
        if resolved not in seen:
            seen.add(resolved)
            look(folder, jobs.get(resolved), found)
    if not found.runs and not found.unfinished:
        raise ValueError(
            f"Expected a run (a folder with results.json or config.yaml) below {', '.join(map(str, folders))}, "
            "found none. brain-tumor-tl train makes one."
        )
    return found


def walk(folder: Path) -> Iterator[Path]:
    """Yield a folder and those below it, in the order of their names, but none that is a part of a run."""
    for place, below, _ in os.walk(folder):
        below[:] = sorted(name for name in below if name not in INSIDE_A_RUN and not name.startswith("."))
        yield Path(place)


def read_jobs(sweep: Path, found: Gathered) -> dict[Path, dict[str, Any]]:
    """Return the jobs that a sweep's launcher has noted, by folder; an unreadable note is listed as such."""
    try:
        jobs = read_json(sweep / SWEEP_FILE)["jobs"]
        noted = (sweep / SWEEP_FILE).stat().st_mtime
        return {
            (sweep / job["folder"]).resolve(): {**job, "place": sweep / job["folder"], "noted": noted} for job in jobs
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        found.unfinished.append(Unfinished(SWEEP_FILE, "unreadable", sweep, str(error)))
        return {}


def look(folder: Path, job: Mapping[str, Any] | None, found: Gathered) -> None:
    """Add what a folder holds: a finished run, a job that is not, or nothing."""
    noted = str((job or {}).get("state", ""))
    problem = ""
    if (folder / "results.json").is_file():
        try:
            results = read_json(folder / "results.json")
            problem = fault(results)
        except ValueError as error:
            problem = str(error)
        if not problem:
            found.runs.append(Run(folder, results))
    if problem:
        found.unfinished.append(unfinished(folder, job, "unreadable", problem))
    elif (folder / "results.json").is_file():
        if noted in ("failed", "interrupted"):  # such as one that was refused because another run is in its folder
            found.unfinished.append(unfinished(folder, job, noted, "an earlier run's results are in the folder"))
    elif noted == "done":
        found.unfinished.append(unfinished(folder, job, "missing", "noted as done, but there is no results.json"))
    elif noted or any((folder / name).is_file() for name in ("config.yaml", *LOGS)):
        found.unfinished.append(unfinished(folder, job, standing(folder, job), ""))


def standing(folder: Path, job: Mapping[str, Any] | None) -> str:
    """Return how a run without results stands: its launcher's word, but for runs that a killed launcher left behind."""
    noted = str((job or {}).get("state", "")) or "cut or running"
    if noted not in ("running", "cut or running") or (job and time.time() - job["noted"] < STARTING):
        return noted
    held = is_held(folder / LOCK)
    return noted if held is None else "running" if held else "cut"


def is_held(path: Path) -> bool | None:
    """Tell whether a process holds a lock, None where that can't be told: there is no such file, or no right to it."""
    if not path.is_file():
        return None
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None


def unfinished(folder: Path, job: Mapping[str, Any] | None, state: str, problem: str) -> Unfinished:
    """Return a run without results, with what its launcher and its folder tell of it."""
    job = job or {}
    parts = [str(job.get("reason") or ""), problem]
    if job.get("exit_status") not in (None, 0) and not parts[0]:
        parts.insert(0, f"exit status {job['exit_status']}")
    logs = [folder / name for name in LOGS if (folder / name).is_file()]
    return Unfinished(
        name=str(job.get("name") or folder.name),
        state=state,
        folder=folder,
        reason="; ".join(part for part in parts if part),
        epochs=epochs_done(folder / "metrics.csv"),
        log=logs[0] if logs else None,
    )


def epochs_done(path: Path) -> int:
    """Return how many rows a run's `metrics.csv` has, 0 where it is absent."""
    try:
        return max(path.read_bytes().count(b"\n") - 1, 0)
    except OSError:
        return 0


def fault(results: Mapping[str, Any]) -> str:
    """Return what makes a results file unusable here, an empty string where nothing does."""
    if results.get("schema") != SCHEMA:
        return f"results.json is of another version or program: expected schema {SCHEMA}, got {results.get('schema')}"
    wrong = [key for key, kind in NEEDED.items() if not isinstance(results.get(key), kind)]
    wrong += [f"protocol.{key}" for key in ("synthetic", "text") if key not in (results.get("protocol") or {})]
    return f"results.json lacks {', '.join(wrong)}" if wrong else ""


def last_lines(path: Path | None, count: int = 15) -> str:
    """Return the last lines of a log, an empty string where it can't be read."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - 200 * count, 0))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-count:])
