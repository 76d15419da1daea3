"""Devices: the GPUs that a sweep may use, found without PyTorch, whose import takes seconds."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Device:
    """One GPU.

    Attributes:
        name: What `CUDA_VISIBLE_DEVICES` calls it.
        key: What its lock is called: its UUID where that is known, so that number and UUID mean one lock.
    """

    name: str
    key: str


def visible_devices(environment: Mapping[str, str], listing: Callable[[], str] | None = None) -> list[Device]:
    """Return the devices of the parent's `CUDA_VISIBLE_DEVICES`, or all of the machine where it is not set.

    Args:
        environment: The process's environment.
        listing: Returns what `nvidia-smi -L` prints; by default it is run.
    """
    known = parse_listing((listing or list_gpus)())
    setting = environment.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return known
    names = [name.strip() for name in setting.split(",")]
    # CUDA ignores what stands behind the first name that is none; -1 is the usual one.
    count = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
    return [Device(name, key_of(name, known)) for name in dict.fromkeys(names[:count])]


def key_of(name: str, known: list[Device]) -> str:
    """Return the key of a device by its number or by the start of its UUID.

    >>> key_of("1", [Device("0", "GPU-a"), Device("1", "GPU-b")])
    'GPU-b'
    >>> key_of("1", [])
    'number-1'
    """
    alike = [device.key for device in known if device.name == name or device.key.startswith(name)]
    return alike[0] if alike else f"number-{name}" if name.isdigit() else name


def parse_listing(text: str) -> list[Device]:
    """Return the devices that `nvidia-smi -L` lists; the parts of a GPU that is cut with MIG stand for it.

    >>> parse_listing("GPU 0: NVIDIA H200 (UUID: GPU-5f)")
    [Device(name='0', key='GPU-5f')]
    """
    devices: list[Device] = []
    whole = False
    for line in text.splitlines():
        gpu = re.match(r"GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", line)
        part = re.match(r"\s+MIG .*\(UUID: +(MIG-[^)]+)\)", line)
        if gpu:
            devices.append(Device(gpu[1], gpu[2]))
            whole = True
        elif part:
            if whole:
                devices.pop()
            devices.append(Device(part[1], part[1]))
            whole = False
    return devices


def list_gpus() -> str:
    """Return what `nvidia-smi -L` prints, nothing where there is no such program or it finds no GPU."""
    try:
        result = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""


def devices_needed(trainer: Mapping[str, Any], per_job: int | None, available: int) -> int:
    """Return how many devices a job is to be given; 0 where it computes on the processor.

    Args:
        trainer: The job's `trainer` settings.
        per_job: `launcher.devices_per_job`; None takes `trainer.devices`, one where that leaves it open.
        available: Number of devices that the sweep may use.

    Raises:
        ValueError: The settings don't fit each other or the machine.
    """
    if trainer["num_nodes"] > 1:
        raise ValueError(
            f"Expected `trainer.num_nodes` of 1 in a sweep on one machine, got {trainer['num_nodes']}: "
            "the job would wait for the others. Sweep over machines with a cluster's launcher."
        )
    if not available or trainer["accelerator"] in ("cpu", "mps"):
        return 0
    wanted = trainer["devices"]
    if isinstance(wanted, list):
        raise ValueError(
            f"Expected `trainer.devices` to be a number or auto in a sweep, got {wanted}: the launcher chooses which. "
            "CUDA_VISIBLE_DEVICES names those that it may choose from."
        )
    least = 1 if wanted in ("auto", -1) else int(wanted)
    if per_job is not None and per_job < least:
        raise ValueError(
            f"Expected `launcher.devices_per_job` to be at least `trainer.devices`, got {per_job} and {least}."
        )
    count = per_job or least
    if count > available:
        raise ValueError(f"Expected at least {count} devices for a job, this sweep may use {available}.")
    return count
