"""Devices: the GPUs that a sweep may use, found without importing PyTorch, which takes seconds."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import Any, NamedTuple


class Device(NamedTuple):
    """One GPU.

    Attributes:
        name: Its name in `CUDA_VISIBLE_DEVICES`.
        key: The name of its lock: the UUID if known, so that a number and a UUID of the same GPU share one lock.
    """

    name: str
    key: str


def list_gpus() -> str:
    """Return the output of `nvidia-smi -L`, empty without the program or a GPU."""
    try:
        result = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout if result.returncode == 0 else ""


def visible_devices(environment: Mapping[str, str], listing: Callable[[], str] = list_gpus) -> list[Device]:
    """Return the devices in `CUDA_VISIBLE_DEVICES`, or all of the machine if it is not set.

    Args:
        environment: The process's environment.
        listing: Returns the output of `nvidia-smi -L`.
    """
    known = parse_listing(listing())
    setting = environment.get("CUDA_VISIBLE_DEVICES")
    if setting is None:
        return known
    # CUDA ignores everything from the first invalid name on, usually -1.
    names = takewhile(lambda name: name not in ("", "-1"), map(str.strip, setting.split(",")))
    return [Device(name, key_of(name, known)) for name in dict.fromkeys(names)]


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
    """Return the devices in the output of `nvidia-smi -L`; a GPU that is partitioned with MIG is listed as its parts.

    >>> parse_listing("GPU 0: NVIDIA H200 (UUID: GPU-5f)")
    [Device(name='0', key='GPU-5f')]
    """
    devices: list[Device] = []
    for block in re.split(r"^(?=GPU )", text, flags=re.MULTILINE):
        parts = [Device(uuid, uuid) for uuid in re.findall(r"MIG .*\(UUID: +(MIG-[^)]+)\)", block)]
        gpu = re.match(r"GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", block)
        devices += parts or ([Device(gpu[1], gpu[2])] if gpu else [])
    return devices


def devices_needed(trainer: Mapping[str, Any], per_job: int | None, available: int) -> int:
    """Return how many devices a job gets; 0 if it computes on the processor.

    Args:
        trainer: The job's `trainer` settings.
        per_job: `launcher.devices_per_job`; None for `trainer.devices`, or one device if that is `auto` or -1.
        available: Number of devices that the sweep may use.

    Raises:
        ValueError: The settings don't fit each other or the machine.
    """
    if trainer["num_nodes"] > 1:
        raise ValueError(
            f"Expected `trainer.num_nodes` of 1 in a sweep on one machine, got {trainer['num_nodes']}: the job would "
            "wait forever for the other machines. For several machines, use a cluster's launcher."
        )
    if not available or trainer["accelerator"] in ("cpu", "mps"):
        return 0
    wanted = trainer["devices"]
    if isinstance(wanted, list):
        raise ValueError(
            f"Expected `trainer.devices` to be a number or auto in a sweep, got {wanted}: the launcher assigns the "
            "devices. CUDA_VISIBLE_DEVICES limits which."
        )
    least = 1 if wanted in ("auto", -1) else int(wanted)
    count = per_job or least
    if count < least:
        raise ValueError(f"Expected `launcher.devices_per_job` of at least `trainer.devices`, got {count} and {least}.")
    if count > available:
        raise ValueError(f"Expected at least {count} devices for a job, this sweep may use {available}.")
    return count
