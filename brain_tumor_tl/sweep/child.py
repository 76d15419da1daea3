"""Child: the process of one job, with its own process group, devices and output file."""

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
from brain_tumor_tl.sweep.parent_watch import PARENT, exists

CONSOLE = "console.log"  # in a job's folder: everything that its process printed
TAIL_LINES, TAIL_BYTES, CLEAN_UP_SECONDS = 12, 20_000, 2.0
COLOURS = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE")


class Child:
    """A started job.

    Args:
        job: The job.
        lease: Its devices; the process inherits the locks.
        environment: The environment of the process.
    """

    def __init__(self, job: SweepJob, lease: Lease, environment: Mapping[str, str]) -> None:
        self.job, self.lease, self.started = job, lease, time.time()
        self.asked_to_end: float | None = None  # time.monotonic() of the request
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
                start_new_session=True,  # Ctrl-C reaches only the launcher, and the job's processes form one group
                pass_fds=lease.files,
            )

    def signal(self, number: int) -> None:
        """Send a signal to the job's process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses if only zombies are left
            os.killpg(self.process.pid, number)

    def end(self, grace_seconds: float) -> None:
        """Ask the process to end; a later call kills it if it is still running after the grace period."""
        if self.asked_to_end is None:
            self.asked_to_end = time.monotonic()
            self.signal(signal.SIGTERM)
        elif time.monotonic() - self.asked_to_end > grace_seconds:
            self.signal(signal.SIGKILL)

    def clean_up(self) -> None:
        """Kill the processes that an ended job left behind, such as those of a run on several devices."""
        deadline = time.monotonic() + CLEAN_UP_SECONDS  # in a container, zombies may never be reaped
        while exists(self.process.pid, os.killpg) and time.monotonic() < deadline:
            self.signal(signal.SIGKILL)
            time.sleep(0.05)

    def last_lines(self) -> list[str]:
        """Return the last lines that the process printed."""
        with self.log.open("rb") as file:
            file.seek(max(self.log_start, self.log.stat().st_size - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()][-TAIL_LINES:]


def failure_reason(status: int, lines: Sequence[str]) -> str:
    """Return why a process failed, in one line.

    Args:
        status: Its exit status, negative for a signal.
        lines: The last lines that it printed.

    >>> failure_reason(-9, ["Epoch 1/3"])
    'killed by SIGKILL; its last line: Epoch 1/3'
    >>> failure_reason(1, ["Traceback", "ValueError: no"])
    'ValueError: no'
    """
    last = lines[-1].strip().removeprefix("error: ") if lines else ""
    if status >= 0:
        return last or f"exit status {status}, no output"
    names = {number.value: number.name for number in signal.Signals}
    return f"killed by {names.get(-status, f'signal {-status}')}" + (f"; its last line: {last}" if last else "")


def child_environment(
    base: Mapping[str, str], devices: Sequence[Device], pool: Sequence[Device], threads: int | None
) -> dict[str, str]:
    """Return the environment of a job's process.

    Args:
        base: The launcher's environment.
        devices: The job's devices.
        pool: All devices of the sweep; a job without devices sees none of them.
        threads: Processor threads of each process; None for PyTorch's default.
    """
    result = {name: value for name, value in base.items() if name not in COLOURS}
    result |= {PARENT: str(os.getpid()), "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
    if pool:
        result["CUDA_VISIBLE_DEVICES"] = ",".join(device.name for device in devices)
        if "CUDA_VISIBLE_DEVICES" not in base:
            result.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the numbers are those of nvidia-smi
    if "SLURM_JOB_ID" in base:
        result["SLURM_JOB_NAME"] = "interactive"  # else Lightning waits for processes that SLURM doesn't start
    if threads is not None:
        result.setdefault("OMP_NUM_THREADS", str(threads))
    return result
