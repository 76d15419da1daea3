"""Leases: all that a job needs or none, across processes, until the holder ends."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from brain_tumor_tl.sweep.devices import Device
from brain_tumor_tl.sweep.leases import SHARED_FOLDER, Leases, lease_folder, try_lock

POOL = [Device(str(number), f"GPU-{number}") for number in range(4)]
SLEEPER = (sys.executable, "-S", "-c", "import time; print('up', flush=True); time.sleep(60)")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def names(leases: Leases, count: int) -> list[str] | None:
    lease = leases.take(count)
    return None if lease is None else [device.name for device in lease.devices]


def test_take__all_or_nothing(folder: Path) -> None:
    one, other = Leases(POOL, folder), Leases(POOL, folder)

    first = one.take(3)
    assert first is not None
    assert other.take(2) is None
    assert names(other, 1) == ["3"], "the devices of the refused lease are free again"
    assert names(one, 0) == []
    assert names(one, 1) is None
    one.give_back(first)
    assert names(other, 3) == ["0", "1", "2"]


def test_take__no_lease_while_another_takes(folder: Path) -> None:
    leases = Leases(POOL, folder)
    gate = os.open(folder / "gate.lock", os.O_RDONLY | os.O_CREAT)
    fcntl.flock(gate, fcntl.LOCK_EX)
    assert leases.take(1) is None
    os.close(gate)
    assert names(leases, 1) == ["0"]


def test_take__jobs_that_share_a_device_spread_first(folder: Path) -> None:
    leases = Leases(POOL[:2], folder, jobs_per_device=2)

    assert [names(leases, 1) for _ in range(5)] == [["0"], ["1"], ["0"], ["1"], None]


def test_take__whole_and_shared_keep_apart(folder: Path) -> None:
    whole, shared = Leases(POOL[:2], folder), Leases(POOL[:2], folder, jobs_per_device=2)

    held = whole.take(1)
    assert held is not None
    assert names(shared, 1) == ["1"]
    whole.give_back(held)
    assert names(whole, 1) == ["0"]
    assert names(whole, 1) is None
    assert names(shared, 1) == ["1"], "the second slot of the shared device"
    assert names(shared, 1) is None


def test_lease__lives_as_long_as_the_process_that_inherited_it(folder: Path) -> None:
    one, other = Leases(POOL[:1], folder), Leases(POOL[:1], folder)
    lease = one.take(1)
    assert lease is not None
    with subprocess.Popen(SLEEPER, pass_fds=lease.files, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        one.give_back(lease)  # as when the launcher is gone
        assert other.take(1) is None
        holder.kill()
    assert names(other, 1) == ["0"], "kill -9 of the holder frees the device at once"


def test_lease__is_not_inherited_by_other_processes(folder: Path) -> None:
    leases = Leases(POOL[:1], folder)
    lease = leases.take(1)
    assert lease is not None
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE) as bystander:
        assert bystander.stdout
        bystander.stdout.readline()
        leases.give_back(lease)
        again = leases.take(1)
        bystander.kill()
    assert again is not None


def test_try_lock__removed_file_is_no_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    path = folder / "device.lock"
    before = Path.stat

    def remove_first(self: Path) -> os.stat_result:
        if self == path:
            path.rename(path.with_suffix(".removed"))  # a cleaner removes it at that moment,
            path.touch()  # and another sweep creates it again
        return before(self)

    monkeypatch.setattr(Path, "stat", remove_first)
    assert try_lock(path, fcntl.LOCK_EX) is None


def test_leases__folder_for_all_users(folder: Path) -> None:
    Leases(POOL, folder).take(1)

    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert {path.name for path in folder.iterdir()} == {"gate.lock", "GPU-0.lock"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_leases__no_devices_no_folder(folder: Path) -> None:
    assert names(Leases([], folder), 0) == []
    assert not folder.exists()


FOLDERS = {
    "machine": ({}, SHARED_FOLDER),
    "named": ({"BRAIN_TUMOR_TL_LEASES": "/here"}, Path("/here")),
    "slurm": ({"SLURM_JOB_ID": "1", "BRAIN_TUMOR_TL_LEASES": "/here"}, Path("private")),
    "ray": ({"RAY_JOB_ID": "1"}, Path("private")),
    "further-process": ({"LOCAL_RANK": "1"}, Path("private")),
}


@pytest.mark.parametrize(("environment", "expected"), FOLDERS.values(), ids=FOLDERS)
def test_lease_folder__machine_or_private(environment: dict[str, str], expected: Path) -> None:
    assert lease_folder(environment, Path("private")) == expected


HOLDER = """
import os, signal, sys
from pathlib import Path
from brain_tumor_tl.sweep.devices import Device
from brain_tumor_tl.sweep.leases import Leases
leases = Leases([Device("0", "GPU-0")], Path(sys.argv[1]))
assert leases.take(1)
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_lease__ends_with_a_killed_holder(folder: Path) -> None:
    with subprocess.Popen((sys.executable, "-c", HOLDER, str(folder)), stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        leases = Leases(POOL[:1], folder)
        assert leases.take(1) is None
        holder.kill()
        holder.wait()
    deadline = time.monotonic() + 5
    while (lease := leases.take(1)) is None:
        assert time.monotonic() < deadline
    assert [device.name for device in lease.devices] == ["0"]
