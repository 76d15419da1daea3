"""Leases: devices held by locks on files of this machine, so that no two sweeps ever share one.

A lock belongs to an open file, which the kernel closes with the last process that has it: a lease ends with its
holder, kill -9 included. A job's process inherits the file, so that its device stays taken while it lives even where
the launcher that started it is gone.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from brain_tumor_tl.sweep.devices import Device

# One place for all users and all their sessions: TMPDIR and XDG_RUNTIME_DIR differ between them.
SHARED_FOLDER = Path("/tmp/brain_tumor_tl-leases")
FOLDER_KEY = "BRAIN_TUMOR_TL_LEASES"
# Their numbers of devices mean something inside the job alone, so a lock of the whole machine would be wrong.
SCHEDULERS = ("SLURM_JOB_ID", "RAY_JOB_ID", "LOCAL_RANK")


def lease_folder(environment: Mapping[str, str], private: Path) -> Path:
    """Return the folder of the locks: the machine's own, or a private one where a scheduler gave the devices.

    Args:
        environment: The process's environment; `BRAIN_TUMOR_TL_LEASES` names another folder.
        private: A folder that no other sweep knows.
    """
    if any(name in environment for name in SCHEDULERS):
        return private
    return Path(environment.get(FOLDER_KEY, SHARED_FOLDER))


@dataclass
class Lease:
    """Some devices, held until `release`, or until the last process that inherited its files ends."""

    devices: list[Device]
    files: list[int] = field(default_factory=list)

    def release(self) -> None:
        """Let go; closing, not unlocking, so that a process that inherited the files keeps the devices."""
        for file in self.files:
            os.close(file)
        self.files = []


class Leases:
    """Takes devices from a pool, all that a job needs or none.

    Args:
        devices: The pool.
        folder: Folder of the locks, on a disk of this machine.
        jobs_per_device: Jobs that may share a device; 1 keeps it from everybody.
    """

    def __init__(self, devices: Sequence[Device], folder: Path, jobs_per_device: int = 1) -> None:
        self.devices, self.folder, self.jobs_per_device = list(devices), folder, jobs_per_device
        self.taken: Counter[str] = Counter()
        if devices:
            make_shared(folder)

    def take(self, count: int) -> Lease | None:
        """Return a lease of `count` devices, None where so many are not free now. Nobody waits here."""
        if not count:
            return Lease([])
        lease = Lease([])
        with gate(self.folder / "gate.lock") as is_open:
            for device in sorted(self.devices, key=lambda d: self.taken[d.name]) if is_open else []:
                files = self.lock(device)
                if files:
                    lease.devices.append(device)
                    lease.files += files
                if len(lease.devices) == count:
                    self.taken.update(d.name for d in lease.devices)
                    return lease
            lease.release()
        return None

    def give_back(self, lease: Lease) -> None:
        """End a lease."""
        self.taken.subtract(d.name for d in lease.devices)
        lease.release()

    def lock(self, device: Device) -> list[int]:
        """Return the files that hold a device, none where it is not free.

        A whole device is an exclusive lock. Jobs that share one hold a shared lock on it, and one of as many slots as
        there may be jobs, so that a sweep that wants the whole device and one that shares keep apart too.
        """
        name = re.sub(r"[^\w.-]", "_", device.key)
        if self.jobs_per_device == 1:
            whole = try_lock(self.folder / f"{name}.lock", fcntl.LOCK_EX)
            return [] if whole is None else [whole]
        shared = try_lock(self.folder / f"{name}.lock", fcntl.LOCK_SH)
        if shared is None:
            return []
        for slot in range(self.jobs_per_device):
            own = try_lock(self.folder / f"{name}.slot{slot}.lock", fcntl.LOCK_EX)
            if own is not None:
                return [shared, own]
        os.close(shared)
        return []


@contextmanager
def gate(path: Path) -> Iterator[bool]:
    """Tell whether this process alone takes devices now, so that two never hold half of what they want each."""
    file = try_lock(path, fcntl.LOCK_EX)
    try:
        yield file is not None
    finally:
        if file is not None:
            os.close(file)


def try_lock(path: Path, kind: int) -> int | None:
    """Return an open file that holds the lock at `path`, None where another has it or the file was just removed."""
    file = open_shared(path)
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
        if os.fstat(file).st_ino == path.stat().st_ino:  # else a cleaner of temporary files was faster
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(file)
    return None


def open_shared(path: Path) -> int:
    """Open a lock's file, another user's as well, and make it where it is absent.

    To read is enough for a lock; Linux refuses to create, not to read, another's file in a folder for all.
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        if os.fstat(file).st_uid == os.getuid():
            os.fchmod(file, 0o644)  # a strict umask would keep others from seeing the lock
        return file


def make_shared(folder: Path) -> None:
    """Make a folder in which every user may keep locks, as in /tmp."""
    try:
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    except FileExistsError:
        pass
