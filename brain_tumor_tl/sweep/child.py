"""Child: the process of one job, with its own process group, its output in a file, and its devices."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

from brain_tumor_tl.sweep.devices import Device
from brain_tumor_tl.sweep.leases import Lease
from brain_tumor_tl.sweep.manifest import SweepJob
from brain_tumor_tl.sweep.parent_watch import PARENT

CONSOLE = "console.log"  # in a job's folder: all that its process printed
TAIL_LINES = 12
COLOURS = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE")


class Child:
    """A started job.

    Args:
        job: What to start.
        lease: Its devices; the process inherits the locks.
        environment: The environment of the process.
    """

    def __init__(self, job: SweepJob, lease: Lease, environment: Mapping[str, str]) -> None:
        self.job, self.lease, self.started = job, lease, time.time()
        self.told_to_end: float | None = None  # when, by the steady clock
        job.folder.mkdir(parents=True, exist_ok=True)
        self.log = job.folder / CONSOLE
        with self.log.open("ab") as output:
            self.log_start = output.tell()
            self.process = subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,  # Ctrl-C reaches the launcher alone, and all that the job starts is one group
                pass_fds=lease.files,
            )

    def poll(self) -> int | None:
        """Return the exit status, None while the process lives."""
        return self.process.poll()

    def signal(self, number: int) -> None:
        """Send a signal to the process and all that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses where only zombies are left
            os.killpg(self.process.pid, number)

    def end(self, grace_seconds: float) -> None:
        """Ask the process to end, once; a later call kills it if its time is up."""
        if self.told_to_end is None:
            self.told_to_end = time.monotonic()
            self.signal(signal.SIGTERM)
        elif time.monotonic() - self.told_to_end > grace_seconds:
            self.signal(signal.SIGKILL)

    def clear_up(self, seconds: float = 2.0) -> None:
        """Kill what the ended process left behind, such as the further processes of a run on several devices."""
        deadline = time.monotonic() + seconds  # a container's first process may never collect the dead
        while group_lives(self.process.pid) and time.monotonic() < deadline:
            self.signal(signal.SIGKILL)
            time.sleep(0.05)

    def last_lines(self, count: int = TAIL_LINES) -> list[str]:
        """Return the last lines that the process printed since this start."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, size - 20_000))
            text = file.read().decode("utf-8", errors="replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def group_lives(group: int) -> bool:
    """Tell whether a process group has a member."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def reason_of(status: int, lines: Sequence[str]) -> str:
    """Return why a process ended, in one line.

    >>> reason_of(-9, ["Epoch 1/3"])
    'killed by SIGKILL; its last line: Epoch 1/3'
    >>> reason_of(1, ["Traceback", "ValueError: no"])
    'ValueError: no'
    """
    last = lines[-1].strip().removeprefix("error: ") if lines else ""
    if status >= 0:
        return last or f"exit status {status}, it printed nothing"
    try:
        killer = signal.Signals(-status).name
    except ValueError:
        killer = f"signal {-status}"
    return f"killed by {killer}" + (f"; its last line: {last}" if last else "")


def child_environment(
    base: Mapping[str, str], devices: Sequence[Device], pool: Sequence[Device], threads: int | None
) -> dict[str, str]:
    """Return the environment of a job's process.

    Args:
        base: The launcher's own.
        devices: The job's devices.
        pool: All devices of the sweep; where there are some, a job with none gets none to see.
        threads: Processor threads for the job; None leaves PyTorch's own choice.
    """
    result = {name: value for name, value in base.items() if name not in COLOURS}
    result |= {PARENT: str(os.getpid()), "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
    if pool:
        result["CUDA_VISIBLE_DEVICES"] = ",".join(device.name for device in devices)
        if "CUDA_VISIBLE_DEVICES" not in base:
            result.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the numbers are nvidia-smi's
    if "SLURM_JOB_ID" in base:
        result["SLURM_JOB_NAME"] = "interactive"  # else Lightning waits for processes that SLURM doesn't start
    if threads is not None:
        result.setdefault("OMP_NUM_THREADS", str(threads))
    return result
