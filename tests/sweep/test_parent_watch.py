"""Parent watch: a job ends with its launcher, even if that is killed, and so do the processes that the job started."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from brain_tumor_tl.sweep.parent_watch import PARENT, end_with_parent, exists

# Argument 2 is the number of generations that follow; each starts the next as Lightning starts its further processes.
# The third time that the thread finds the parent alive, the process writes its id.
GENERATION = """
import os, subprocess, sys, time, types
from pathlib import Path
from brain_tumor_tl.sweep import parent_watch
folder, left, checks = Path(sys.argv[1]), int(sys.argv[2]), []
def sleep(seconds):
    checks.append(seconds)
    if len(checks) == 3:
        (folder / f"pid-{left}.tmp").write_text(str(os.getpid()))
        (folder / f"pid-{left}.tmp").rename(folder / f"pid-{left}")
    time.sleep(0.02)
parent_watch.time = types.SimpleNamespace(sleep=sleep)
if sys.argv[3] == "thread":
    parent_watch.sys.platform = "another"
parent_watch.end_with_parent()
if left:
    subprocess.Popen([sys.executable, "-c", sys.argv[4], folder, str(left - 1), sys.argv[3], sys.argv[4]])
time.sleep(60)
"""
LAUNCHER = """
import os, subprocess, sys, time
os.environ["BRAIN_TUMOR_TL_PARENT"] = str(os.getpid())
between = ["sh", "-c", 'python="$1"; shift; "$python" "$@"; true', "sh"] if sys.argv[3] == "wrapped" else []
kind = "thread" if sys.argv[3] == "wrapped" else sys.argv[3]
line = [sys.executable, "-c", sys.argv[1], sys.argv[2], "1", kind, sys.argv[1]]
subprocess.Popen([*between, *line], start_new_session=True)
time.sleep(60)
"""


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("kind", ["signal", "thread", "wrapped"])
def test_end_with_parent__two_generations(kind: str, tmp_path: Path) -> None:
    launcher = subprocess.Popen((sys.executable, "-S", "-c", LAUNCHER, GENERATION, str(tmp_path), kind))
    deadline = time.monotonic() + 30
    while len(found := list(tmp_path.glob("pid-?"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = [int(path.read_text()) for path in found]
    assert all(running(pid) for pid in pids), "they run as long as the launcher does"

    launcher.kill()
    launcher.wait()

    deadline = time.monotonic() + 10
    while any(running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a job outlived its launcher"
        time.sleep(0.05)


@pytest.mark.parametrize("value", [None, "", "nonsense"])
def test_end_with_parent__nothing_outside_a_sweep(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is None:
        monkeypatch.delenv(PARENT, raising=False)
    else:
        monkeypatch.setenv(PARENT, value)
    before = threading.active_count()

    end_with_parent()

    assert threading.active_count() == before


def test_exists__this_one_and_none() -> None:
    absent = 2**22 + 1  # above Linux's largest process id

    assert exists(os.getpid())
    assert exists(os.getpgid(0), os.killpg)
    assert not exists(absent)
    assert not exists(absent, os.killpg)
