"""Leases: devices held by locks on files, so that no two sweeps on a machine use the same device.

The kernel releases such a lock when the last process with the open file ends, however it ends. A job's process inherits
the file, so the device stays taken while the job runs, even if its launcher was killed.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from brain_tumor_tl.sweep.devices import Device

# One folder for all users and sessions: TMPDIR and XDG_RUNTIME_DIR differ between them.
SHARED_FOLDER = Path("/tmp/brain_tumor_tl-leases")
FOLDER_KEY = "BRAIN_TUMOR_TL_LEASES"
# Inside a job of these, device numbers are relative to the job, so a lock of the whole machine would be wrong.
SCHEDULERS = ("SLURM_JOB_ID", "RAY_JOB_ID", "LOCAL_RANK")


def lease_folder(environment: Mapping[str, str], private: Path) -> Path:
    """Return the folder of the locks: the machine's, or a private one if a scheduler assigned the devices.

    Args:
        environment: The process's environment; `BRAIN_TUMOR_TL_LEASES` names another folder.
        private: A folder that no other sweep uses.
    """
    if any(name in environment for name in SCHEDULERS):
        return private
    return Path(environment.get(FOLDER_KEY, SHARED_FOLDER))


class Lease(NamedTuple):
    """Some devices, and the open files that hold them."""

    devices: list[Device]
    files: list[int]


class Leases:
    """Takes devices from a pool: all that a job needs, or none.

    Args:
        devices: The pool.
        folder: Folder of the locks, on a local disk.
        jobs_per_device: Jobs that may share a device; 1 for exclusive use.
    """

    def __init__(self, devices: Sequence[Device], folder: Path, jobs_per_device: int = 1) -> None:
        self.devices, self.folder, self.jobs_per_device = list(devices), folder, jobs_per_device
        self.taken: Counter[str] = Counter()
        if devices:
            with suppress(FileExistsError):
                folder.mkdir(parents=True)
                folder.chmod(0o1777)  # every user may create locks, as in /tmp

    def take(self, count: int) -> Lease | None:
        """Return a lease of `count` devices, None if fewer are free now. Never waits."""
        lease = Lease([], [])
        if not count:
            return lease
        # One process at a time, so that no two each hold half of what they need.
        gate = try_lock(self.folder / "gate.lock", fcntl.LOCK_EX)
        if gate is None:
            return None
        try:
            for device in sorted(self.devices, key=lambda device: self.taken[device.name]):
                if len(lease.devices) < count and (files := self.lock(device)):
                    lease.devices.append(device)
                    lease.files.extend(files)
        finally:
            os.close(gate)
        self.taken.update(device.name for device in lease.devices)
        if len(lease.devices) == count:
            return lease
        self.give_back(lease)
        return None

    def give_back(self, lease: Lease) -> None:
        """Close a lease's files; not unlock them, so that a process that inherited them keeps the devices."""
        self.taken.subtract(device.name for device in lease.devices)
        for file in lease.files:
            os.close(file)

    def lock(self, device: Device) -> list[int]:
        """Return the open files that hold a device, empty if it is not free.

        An exclusive lock holds a whole device. Jobs that share a device hold a shared lock on it, and an exclusive one
        on one of its slots. So a sweep that needs whole devices and one that shares them exclude each other too.
        """
        name = re.sub(r"[^\w.-]", "_", device.key)
        shared = self.jobs_per_device > 1
        whole = try_lock(self.folder / f"{name}.lock", fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        if whole is None or not shared:
            return [] if whole is None else [whole]
        for slot in range(self.jobs_per_device):
            own = try_lock(self.folder / f"{name}.slot{slot}.lock", fcntl.LOCK_EX)
            if own is not None:
                return [whole, own]
        os.close(whole)
        return []


def try_lock(path: Path, kind: int) -> int | None:
    """Return an open file that holds the lock at `path`, None if another has it or the file was just removed."""
    file = open_shared(path)
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        if os.fstat(file).st_ino == path.stat().st_ino:  # else a cleaner of temporary files removed it meanwhile
            return file
    os.close(file)
    return None


def open_shared(path: Path) -> int:
    """Open a lock file, possibly another user's; create it if absent.

    Reading is enough for a lock. In a shared folder, Linux refuses O_CREAT for a file of another user.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        file = os.open(path, flags | os.O_CREAT, 0o644)
        if os.fstat(file).st_uid == os.getuid():
            os.fchmod(file, 0o644)  # with a strict umask, other users could not open the lock
        return file
