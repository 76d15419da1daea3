"""Discover: find the runs below some folders, finished or not, from the files in them alone."""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from brain_tumor_tl.files import read_json
from brain_tumor_tl.reporting.results_file import read_results

SWEEP_FILE = "sweep.json"
FAILURE = "error.txt"  # why a run failed, in its folder
LOGS = ("console.log", "train.log")  # the first holds all output of a job, tracebacks included
LOCK = "run.lock"  # a run holds it from before its first file to its end
STARTING = 60  # seconds that a job may take from its start to the run's lock; imports are slow
REFERENCE = "reference.npz"  # what a run keeps of its training images, by which others are told to be unlike them
EVALUATIONS = "evaluations"  # what `evaluate` found of a run, a folder each
RUN_PAGE, CARD, FIGURES = "report.html", "model_card.md", "figures"  # what `report` makes of a run, in its folder
EVENTS = "events.out.tfevents.*"  # what TensorBoard reads, in a run's folder and in those of its splits
SPLIT_FOLDERS = ("train", "val")
INSIDE_A_RUN = ("checkpoints", "tensorboard", "projector", EVALUATIONS, FIGURES)
Job = Mapping[str, Any]  # as sweep.json has it, with `path` and `time` added; empty for a run outside a sweep


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and the content of its `results.json`."""

    folder: Path
    results: Mapping[str, Any]


@dataclass(frozen=True)
class Unfinished:
    """A run without usable results.

    Attributes:
        name: Its name.
        state: `waiting`, `running`, `cut`, `failed`, `skipped`, `interrupted`, `pruned`, `missing`, `unreadable`,
            or `cut or running` if neither a sweep nor a lock shows which.
        folder: Its folder.
        reason: What went wrong, if known.
        epochs: Number of completed epochs.
        log: Its log file, None if there is none.
    """

    name: str
    state: str
    folder: Path
    reason: str = ""
    epochs: int = 0
    log: Path | None = None


@dataclass
class Discovered:
    """The runs below some folders, each once."""

    runs: list[Run] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)

    def state(self) -> str:
        """Return how many runs are in which state.

        >>> Discovered(unfinished=[Unfinished("a", "failed", Path("a"))]).state()
        '0 of 1 runs done, 1 failed'
        """
        counts = sorted(Counter(run.state for run in self.unfinished).items())
        done = f"{len(self.runs)} of {len(self.runs) + len(self.unfinished)} runs done"
        return ", ".join([done, *(f"{count} {state}" for state, count in counts)])


def discover_runs(folders: Sequence[Path]) -> Discovered:
    """Return all runs below some folders, at any depth.

    Raises:
        ValueError: A folder doesn't exist, or no run was found.
    """
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent:
        raise ValueError(f"Expected folders of runs, these don't exist: {', '.join(absent)}.")
    found = Discovered()
    places = sorted({path for folder in folders for path in walk(folder)})
    jobs: dict[Path, Job] = {}
    for sweep in (place for place in places if (place / SWEEP_FILE).is_file()):
        jobs |= read_jobs(sweep, found)
    candidates: dict[Path, Path] = {}  # by resolved path, so that each run counts once
    for folder in [*places, *(job["path"] for job in jobs.values())]:
        candidates.setdefault(folder.resolve(), folder)
    for resolved, folder in candidates.items():
        add_run(folder, jobs.get(resolved, {}), found)
    if not found.runs and not found.unfinished:
        raise ValueError(
            f"Expected a run (a folder with results.json or config.yaml) below {', '.join(map(str, folders))}, "
            "found none. brain-tumor-tl train makes one."
        )
    return found


def holds_run(folder: Path) -> bool:
    """Tell whether a folder is that of a run, finished or not."""
    return any((folder / name).is_file() for name in ("results.json", "config.yaml"))


def walk(folder: Path) -> Iterator[Path]:
    """Yield a folder and its subfolders, but not the subfolders of a run."""
    for place, below, _ in os.walk(folder):
        own = INSIDE_A_RUN + SPLIT_FOLDERS * holds_run(Path(place))
        below[:] = sorted(name for name in below if name not in own and not name.startswith("."))
        yield Path(place)


def read_jobs(sweep: Path, found: Discovered) -> dict[Path, Job]:
    """Return the jobs in a sweep's `sweep.json` by folder; an unreadable file is added to `found`."""
    try:
        jobs = read_json(sweep / SWEEP_FILE)["jobs"]
        extra = {"time": (sweep / SWEEP_FILE).stat().st_mtime}
        return {(sweep / job["folder"]).resolve(): {**job, **extra, "path": sweep / job["folder"]} for job in jobs}
    except (OSError, ValueError, KeyError, TypeError) as error:
        found.unfinished.append(Unfinished(SWEEP_FILE, "unreadable", sweep, str(error)))
        return {}


def add_run(folder: Path, job: Job, found: Discovered) -> None:
    """Add the run in a folder, if there is one; `job` is the sweep's entry for it."""
    state, problem = str(job.get("state") or ""), ""
    if (folder / "results.json").is_file():
        try:
            found.runs.append(Run(folder, read_results(folder / "results.json")))
        except ValueError as error:
            state, problem = "unreadable", str(error)
        else:
            if state not in ("failed", "interrupted"):
                return
            problem = "an earlier run's results are in the folder"  # the job was refused because of them
    elif state == "done":
        state, problem = "missing", "sweep.json says done, but there is no results.json"
    elif state or any((folder / name).is_file() for name in ("config.yaml", *LOGS)):
        state = current_state(folder, job)
    else:
        return
    found.unfinished.append(unfinished_run(folder, job, state, problem))


def current_state(folder: Path, job: Job) -> str:
    """Return the state of a run without results: the sweep's entry, corrected if a killed launcher left it behind."""
    unknown = "failed" if (folder / FAILURE).is_file() else "cut or running"
    state, lock = str(job.get("state") or unknown), folder / LOCK
    starting = job and time.time() - job["time"] < STARTING
    if state not in ("running", "cut or running") or starting or not lock.is_file():
        return state
    from filelock import FileLock, Timeout  # imports asyncio, which `--help` need not wait for

    try:
        with FileLock(lock, timeout=0):
            return "cut"
    except Timeout:
        return "running"
    except (OSError, NotImplementedError):  # no permission, or a file system without locks
        return state


def unfinished_run(folder: Path, job: Job, state: str, problem: str) -> Unfinished:
    """Return a run without usable results, with what its sweep and its folder say about it."""
    status = job.get("exit_status")
    failure = folder / FAILURE
    why = failure.read_text(encoding="utf-8", errors="replace") if failure.is_file() and state == "failed" else ""
    reason = str(job.get("reason") or " ".join(why.split()) or (f"exit status {status}" if status else ""))
    metrics = folder / "metrics.csv"
    epochs = max(metrics.read_bytes().count(b"\n") - 1, 0) if metrics.is_file() else 0
    log = next((folder / name for name in LOGS if (folder / name).is_file()), None)
    name = str(job.get("name") or folder.name)
    return Unfinished(name, state, folder, "; ".join(filter(None, (reason, problem))), epochs, log)


def last_lines(path: Path | None, count: int = 15) -> str:
    """Return the last lines of a log, an empty string if it can't be read."""
    if path is None:
        return ""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, count)).rstrip("\n")
    except OSError:
        return ""
