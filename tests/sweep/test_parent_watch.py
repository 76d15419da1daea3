"""Guard: a job ends with its launcher, kill -9 included, and so does what the job started."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from brain_tumor_tl.sweep.parent_watch import PARENT, end_with_parent, lives

# Argument 2 says how many generations follow; each starts the next as Lightning starts its further processes.
GENERATION = """
import os, subprocess, sys, time
from pathlib import Path
from brain_tumor_tl.sweep import parent_watch
if sys.argv[3] == "thread":
    parent_watch.sys.platform = "another"
parent_watch.end_with_parent()
folder, left = Path(sys.argv[1]), int(sys.argv[2])
if left:
    subprocess.Popen([sys.executable, "-c", sys.argv[4], folder, str(left - 1), sys.argv[3], sys.argv[4]])
(folder / f"pid-{left}.tmp").write_text(str(os.getpid()))
(folder / f"pid-{left}.tmp").rename(folder / f"pid-{left}")
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


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("kind", ["signal", "thread", "wrapped"])
def test_end_with_parent__two_generations(kind: str, tmp_path: Path) -> None:
    launcher = subprocess.Popen((sys.executable, "-S", "-c", LAUNCHER, GENERATION, str(tmp_path), kind))
    deadline = time.monotonic() + 30
    while len(found := list(tmp_path.glob("pid-?"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pids = [int(path.read_text()) for path in found]
    time.sleep(0.7)
    assert all(running(pid) for pid in pids), "they live as long as the launcher does"

    launcher.kill()
    launcher.wait()

    deadline = time.monotonic() + 10
    while any(running(pid) for pid in pids):
        assert time.monotonic() < deadline, "a job outlived its launcher"
        time.sleep(0.05)


@pytest.mark.parametrize("value", [None, "", "nonsense"])
def test_end_with_parent__nothing_outside_a_sweep(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    if value is None:
        monkeypatch.delenv(PARENT, raising=False)
    else:
        monkeypatch.setenv(PARENT, value)
    before = threading.active_count()

    end_with_parent()

    assert threading.active_count() == before


def test_lives__this_one_and_none() -> None:
    import os

    assert lives(os.getpid())
    assert not lives(2**22 + 1)  # above Linux's largest process id
