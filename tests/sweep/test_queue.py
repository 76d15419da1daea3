"""Queue: many jobs on few devices, two sweeps at once, failures, interrupts; the jobs are small scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.sweep import child
from brain_tumor_tl.sweep import queue as queue_module
from brain_tumor_tl.sweep.devices import Device
from brain_tumor_tl.sweep.leases import Leases
from brain_tumor_tl.sweep.manifest import SweepJob
from brain_tumor_tl.sweep.queue import Queue

POOL = [Device(str(number), f"GPU-{number}") for number in range(4)]
PYTHON = (sys.executable, "-S", "-c")

# Marks each of its devices as in use; a device that is marked already is shared.
JOB = """
import os, signal, sys, time
from pathlib import Path
folder, seconds, needs, end = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
devices = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
assert len(devices) == needs, devices
marks = [folder / f"in-use-{name}" for name in devices]
for mark in marks:
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        (folder / f"SHARED-{os.getpid()}").touch()
time.sleep(seconds)
for mark in marks:
    mark.unlink()
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""

# One sweep of 12 jobs in a process of its own; prints how each ended.
SWEEP = f"""
import json, random, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_queue import POOL, Quiet, mixed_jobs
from brain_tumor_tl.sweep.leases import Leases
from brain_tumor_tl.sweep import queue
queue.POLL_SECONDS = 0.02
folder, number = Path(sys.argv[1]), int(sys.argv[2])
jobs = mixed_jobs(folder, number)
queue.Queue(jobs, Leases(POOL, folder / "leases"), 12, Quiet()).run()
print(json.dumps([job.state for job in jobs]))
"""


@pytest.fixture(autouse=True)
def fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(child, "CLEAN_UP_SECONDS", 0.2)  # a container may never reap zombies


class Quiet:
    """A watcher that records what it is told."""

    def __init__(self) -> None:
        self.starts: list[str] = []
        self.ends: list[tuple[str, str, list[str]]] = []
        self.on_tick: Callable[[], Any] = lambda: None

    def changed(self, job: SweepJob, last_lines: Sequence[str] = ()) -> None:
        if job.state == "running":
            self.starts.append(job.name)
        else:
            self.ends.append((job.name, job.state, list(last_lines)))

    def tick(self) -> None:
        self.on_tick()


def make_job(folder: Path, name: str, script: str, *arguments: object, needs: int = 0) -> SweepJob:
    return SweepJob(name, folder / name, [], [*PYTHON, script, *map(str, arguments)], needs=needs)


def mixed_jobs(folder: Path, sweep: int) -> list[SweepJob]:
    """Return 12 jobs of different length that need 1 to 3 devices; one of the first sweep's is killed."""
    jobs = []
    for number in range(12):
        needs, seconds = 1 + (number * 7 + sweep) % 3, 0.01 * (number * 5 % 8)
        end = "killed" if (sweep, number) == (0, 11) else "well"
        name = f"sweep{sweep}-job{number}"
        jobs.append(make_job(folder, name, JOB, folder, seconds, needs, end, needs=needs))
    return jobs


def queue(jobs: Sequence[SweepJob], tmp_path: Path, watcher: Quiet | None = None, **options: Any) -> Queue:
    leases = Leases(options.pop("pool", []), tmp_path / "leases")
    return Queue(jobs, leases, options.pop("at_once", 4), watcher or Quiet(), **options)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)
    return path.read_text()


def gone(process: int) -> bool:
    """Tell whether a process ends within 10 s; a zombie counts as ended."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_run__two_sweeps_of_12_jobs_share_no_device(tmp_path: Path) -> None:
    line = (sys.executable, "-c", SWEEP, str(tmp_path))
    sweeps = [subprocess.Popen((*line, str(number)), stdout=subprocess.PIPE, text=True) for number in (0, 1)]
    outputs = [sweep.communicate(timeout=120)[0] for sweep in sweeps]

    states = [json.loads(output) for output in outputs]
    assert Counter(states[0]) == {"done": 11, "failed": 1}
    assert Counter(states[1]) == {"done": 12}
    assert states[0][11] == "failed"
    assert list(tmp_path.glob("SHARED-*")) == []
    assert list(tmp_path.glob("in-use-*")) == []


def test_run__largest_first_and_no_more_at_once_than_asked(tmp_path: Path) -> None:
    script = "import time; time.sleep(0.1)"
    jobs = [make_job(tmp_path, f"needs{needs}", script, needs=needs) for needs in (1, 3, 2)]
    watcher, most = Quiet(), []
    watcher.on_tick = lambda: most.append(sum(job.state == "running" for job in jobs))

    assert queue(jobs, tmp_path, watcher, pool=POOL, at_once=2).run() is None

    assert watcher.starts == ["needs3", "needs1", "needs2"]
    assert max(most) == 2
    assert [len(job.devices) for job in jobs] == [1, 3, 2]


FAILURES = {
    "raises": ("print('before'); raise ValueError('no such thing')", 1, "ValueError: no such thing"),
    "exits": ("import sys; print('last words'); sys.exit(3)", 3, "last words"),
    "silent": ("import sys; sys.exit(4)", 4, "exit status 4, no output"),
    "killed": ("import os; print('going', flush=True); os.kill(0, 9)", -9, "killed by SIGKILL; its last line: going"),
}


@pytest.mark.parametrize(("script", "status", "reason"), FAILURES.values(), ids=FAILURES)
def test_run__failure_costs_one_job(script: str, status: int, reason: str, tmp_path: Path) -> None:
    bad, good = make_job(tmp_path, "bad", script), make_job(tmp_path, "good", "print('fine')")
    watcher = Quiet()

    queue([bad, good], tmp_path, watcher, at_once=1).run()

    assert (bad.state, bad.exit_status, bad.reason) == ("failed", status, reason)
    assert (good.state, good.exit_status, good.reason) == ("done", 0, None)
    assert good.seconds is not None
    assert dict((name, lines) for name, _, lines in watcher.ends)["good"] == ["fine"]
    assert (tmp_path / "good" / "console.log").read_text() == "fine\n"


def test_run__command_that_is_absent_costs_one_job(tmp_path: Path) -> None:
    bad, good = make_job(tmp_path, "bad", ""), make_job(tmp_path, "good", "")
    bad.command = [str(tmp_path / "absent")]

    queue([bad, good], tmp_path).run()

    assert (bad.state, good.state) == ("failed", "done")
    assert "can't be started" in str(bad.reason)

    bad.state = good.state = "waiting"
    queue([bad, good], tmp_path, fail_fast=True).run()
    assert (bad.state, good.state) == ("failed", "waiting")


def test_run__fail_fast_ends_the_others(tmp_path: Path) -> None:
    jobs = [
        make_job(tmp_path, "long", "import time; time.sleep(60)"),
        make_job(tmp_path, "bad", "raise SystemExit(1)"),
        make_job(tmp_path, "never", ""),
    ]

    queue(jobs, tmp_path, at_once=2, fail_fast=True).run()

    assert [job.state for job in jobs] == ["interrupted", "failed", "waiting"]


def test_run__finished_jobs_are_left_alone(tmp_path: Path) -> None:
    job = make_job(tmp_path, "finished", "raise SystemExit(1)")
    job.state = "skipped"

    queue([job], tmp_path).run()

    assert job.state == "skipped"
    assert not job.folder.exists()


def test_run__second_start_shows_its_own_last_lines(tmp_path: Path) -> None:
    for text in ("first", "second"):
        job = make_job(tmp_path, "job", f"print('{text}')")
        watcher = Quiet()
        queue([job], tmp_path, watcher).run()
        assert watcher.ends == [("job", "done", [text])]
    assert (tmp_path / "job" / "console.log").read_text() == "first\nsecond\n"


# Starts another process, as a run on several devices does, and ignores SIGTERM.
STUBBORN = """
import os, signal, subprocess, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
other = subprocess.Popen([sys.executable, "-S", "-c", script])
temporary = Path(sys.argv[1] + ".tmp")
temporary.write_text(f"{os.getpid()} {other.pid}")
temporary.rename(sys.argv[1])
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_run__interrupt_ends_everything(number: signal.Signals, tmp_path: Path) -> None:
    jobs = [make_job(tmp_path, f"job{i}", STUBBORN, tmp_path / f"pids{i}", 60) for i in range(3)]
    watcher = Quiet()
    before = signal.getsignal(number)

    def interrupt() -> None:
        for i in range(2):
            wait_for(tmp_path / f"pids{i}")
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=interrupt)
    sender.start()
    assert queue(jobs, tmp_path, watcher, at_once=2, grace_seconds=0.5).run() == number
    sender.join()

    assert [job.state for job in jobs] == ["interrupted", "interrupted", "waiting"]
    assert signal.getsignal(number) is before
    pids = [int(pid) for i in range(2) for pid in wait_for(tmp_path / f"pids{i}").split()]
    assert len(pids) == 4
    assert all(gone(pid) for pid in pids)


def test_run__second_interrupt_does_not_wait(tmp_path: Path) -> None:
    job = make_job(tmp_path, "job", STUBBORN, tmp_path / "pids", 60)

    watcher = Quiet()

    def interrupt() -> None:
        if (tmp_path / "pids").exists():
            os.kill(os.getpid(), signal.SIGINT)

    watcher.on_tick = interrupt  # once to stop the queue, then while it waits
    queue([job], tmp_path, watcher, grace_seconds=3600).run()

    assert job.state == "interrupted"
    assert job.exit_status == -signal.SIGKILL


def test_run__what_a_dead_job_started_is_ended(tmp_path: Path) -> None:
    job = make_job(tmp_path, "job", STUBBORN, tmp_path / "pids", 0)

    queue([job], tmp_path).run()

    assert job.state == "done"
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_run__error_of_a_watcher_leaves_nothing_behind(tmp_path: Path) -> None:
    job = make_job(tmp_path, "job", STUBBORN, tmp_path / "pids", 60)
    watcher = Quiet()

    def fail() -> None:
        watcher.on_tick = lambda: None
        wait_for(tmp_path / "pids")
        raise RuntimeError("no view")

    watcher.on_tick = fail
    with pytest.raises(RuntimeError, match="no view"):
        queue([job], tmp_path, watcher, grace_seconds=0.2).run()

    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_run__environment_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    script = (
        "import os; print(*(os.environ.get(k) for k in ('CUDA_VISIBLE_DEVICES', 'OMP_NUM_THREADS', 'FORCE_COLOR')))"
    )
    jobs = [make_job(tmp_path, f"needs{needs}", script, needs=needs) for needs in (2, 0)]
    jobs[1].processes = 4

    queue(jobs, tmp_path, pool=POOL, at_once=2, processors=16).run()

    assert (tmp_path / "needs2" / "console.log").read_text() == "0,1 8 None\n"
    assert (tmp_path / "needs0" / "console.log").read_text() == " 2 None\n"


def test_run__job_alone_leaves_the_threads_to_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    job = make_job(tmp_path, "job", "import os; print(os.environ.get('OMP_NUM_THREADS'))")

    queue([job], tmp_path, at_once=1, processors=16).run()

    assert (tmp_path / "job" / "console.log").read_text() == "None\n"


def test_run__at_least_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    job = make_job(tmp_path, "job", "import os; print(os.environ.get('OMP_NUM_THREADS'))")

    queue([job], tmp_path, at_once=32, processors=16).run()

    assert (tmp_path / "job" / "console.log").read_text() == "1\n"


def test_run__source_is_asked_after_each_end(tmp_path: Path) -> None:
    asked: list[list[str]] = []
    watcher = Quiet()

    def source() -> SweepJob | None:
        asked.append([name for name, _, _ in watcher.ends])
        number = len([names for names in asked if len(names) == len(asked[-1])])
        return make_job(tmp_path, f"job{len(asked)}", "pass") if len(asked[-1]) < 3 and number == 1 else None

    assert queue([], tmp_path, watcher, at_once=1, source=source).run() is None

    assert [state for _, state, _ in watcher.ends] == ["done"] * 3
    assert [len(names) for names in asked] == [0, 1, 2, 3]


@pytest.mark.parametrize("deaf", [False, True], ids=["hears", "deaf"])
def test_run__ends_unwanted_jobs(deaf: bool, tmp_path: Path) -> None:
    script = "import signal, sys, time; from pathlib import Path\n"
    script += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if deaf else ""
    script += "Path(sys.argv[1]).write_text('up'); time.sleep(60)"
    up = tmp_path / "up"
    jobs = [make_job(tmp_path, "long", script, up), make_job(tmp_path, "other", "pass")]
    watcher = Quiet()

    def tick() -> None:
        if up.exists() and up.read_text():
            jobs[0].unwanted = "far behind"

    watcher.on_tick = tick
    assert queue(jobs, tmp_path, watcher, at_once=1, grace_seconds=0.3).run() is None

    assert [(job.state, job.reason) for job in jobs] == [("pruned", "far behind"), ("done", None)]
    assert jobs[0].exit_status == -(signal.SIGKILL if deaf else signal.SIGTERM)
