"""Child: the environment of a job's process, and why one ended."""

from __future__ import annotations

import os

import pytest

from brain_tumor_tl.sweep.child import child_environment, failure_reason
from brain_tumor_tl.sweep.devices import Device
from brain_tumor_tl.sweep.parent_watch import PARENT

POOL = [Device("0", "GPU-a"), Device("2", "GPU-b")]
SHELL = {"HOME": "/home", "FORCE_COLOR": "1"}
ALWAYS = {"HOME": "/home", PARENT: str(os.getpid()), "COLUMNS": "120", "PYTHONUNBUFFERED": "1"}
# The shell's environment besides SHELL, devices, pool, threads, and what the job gets besides ALWAYS.
CASES: dict[str, tuple[dict[str, str], list[Device], list[Device], int | None, dict[str, str]]] = {
    "processor": ({}, [], [], None, {}),
    "threads": ({}, [], [], 4, {"OMP_NUM_THREADS": "4"}),
    "threads-of-the-user": ({"OMP_NUM_THREADS": "7"}, [], [], 4, {"OMP_NUM_THREADS": "7"}),
    "devices": ({}, POOL, POOL, None, {"CUDA_VISIBLE_DEVICES": "0,2", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}),
    "of-the-users-devices": ({"CUDA_VISIBLE_DEVICES": "2,0"}, POOL[1:], POOL, None, {"CUDA_VISIBLE_DEVICES": "2"}),
    "processor-beside-devices": ({"CUDA_VISIBLE_DEVICES": "0,2"}, [], POOL, None, {"CUDA_VISIBLE_DEVICES": ""}),
    "slurm": ({"SLURM_JOB_ID": "1"}, [], [], None, {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "interactive"}),
}


@pytest.mark.parametrize(("shell", "devices", "pool", "threads", "expected"), CASES.values(), ids=CASES)
def test_child_environment__of_a_job(
    shell: dict[str, str], devices: list[Device], pool: list[Device], threads: int | None, expected: dict[str, str]
) -> None:
    assert child_environment(SHELL | shell, devices, pool, threads) == ALWAYS | expected


REASONS = {
    "signal": (-11, [], "killed by SIGSEGV"),
    "no-such-signal": (-100, [], "killed by signal 100"),
    "last-line": (1, ["Traceback", "  error: no [x]"], "no [x]"),
    "nothing": (7, [], "exit status 7, no output"),
}


@pytest.mark.parametrize(("status", "lines", "reason"), REASONS.values(), ids=REASONS)
def test_failure_reason__one_line(status: int, lines: list[str], reason: str) -> None:
    assert failure_reason(status, lines) == reason
