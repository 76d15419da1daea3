"""Devices: which GPUs a sweep may use, and how many each job needs."""

from __future__ import annotations

from typing import Any

import pytest

from brain_tumor_tl.sweep.devices import Device, devices_needed, visible_devices

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc)
"""
PARTITIONED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
"""
POOLS: dict[str, tuple[str | None, str, list[tuple[str, str]]]] = {
    "all": (None, LISTING, [("0", "GPU-aaaa"), ("1", "GPU-bbbb"), ("2", "GPU-cccc")]),
    "none": (None, "", []),
    "mig": (None, PARTITIONED, [("MIG-1111", "MIG-1111"), ("MIG-2222", "MIG-2222"), ("1", "GPU-bbbb")]),
    "some": ("2,0", LISTING, [("2", "GPU-cccc"), ("0", "GPU-aaaa")]),
    "by-uuid": ("GPU-bbbb", LISTING, [("GPU-bbbb", "GPU-bbbb")]),
    "by-start-of-uuid": ("GPU-b", LISTING, [("GPU-b", "GPU-bbbb")]),
    "hidden": ("", LISTING, []),
    "hidden-by-number": ("-1", LISTING, []),
    "up-to-none": ("1,-1,0", LISTING, [("1", "GPU-bbbb")]),
    "twice": ("1, 1", LISTING, [("1", "GPU-bbbb")]),
    "pretended": ("0,1", "", [("0", "number-0"), ("1", "number-1")]),
}


@pytest.mark.parametrize(("setting", "listing", "expected"), POOLS.values(), ids=POOLS)
def test_visible_devices__pools(setting: str | None, listing: str, expected: list[tuple[str, str]]) -> None:
    environment = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}

    assert visible_devices(environment, lambda: listing) == [Device(*names) for names in expected]


def trainer(**changes: Any) -> dict[str, Any]:
    return {"accelerator": "auto", "devices": "auto", "num_nodes": 1} | changes


NEEDS: dict[str, tuple[dict[str, Any], int | None, int, int]] = {
    "auto": (trainer(), None, 4, 1),
    "auto-of-two": (trainer(), 2, 4, 2),
    "all": (trainer(devices=-1), None, 4, 1),
    "two": (trainer(devices=2), None, 4, 2),
    "more-than-it-uses": (trainer(devices=1), 2, 4, 2),
    "no-gpu": (trainer(devices=2), None, 0, 0),
    "processor": (trainer(accelerator="cpu", devices=2), None, 4, 0),
    "list-on-the-processor": (trainer(accelerator="cpu", devices=[0]), None, 4, 0),
}


@pytest.mark.parametrize(("settings", "per_job", "available", "count"), NEEDS.values(), ids=NEEDS)
def test_devices_needed__count(settings: dict[str, Any], per_job: int | None, available: int, count: int) -> None:
    assert devices_needed(settings, per_job, available) == count


REFUSED: dict[str, tuple[dict[str, Any], int | None, str]] = {
    "list": (trainer(devices=[0, 2]), None, r"`trainer\.devices` to be a number or auto in a sweep, got \[0, 2\]"),
    "too-many": (trainer(devices=3), None, "at least 3 devices for a job, this sweep may use 2"),
    "too-many-by-launcher": (trainer(), 3, "at least 3 devices for a job"),
    "fewer-than-it-uses": (trainer(devices=2), 1, r"of at least `trainer\.devices`, got 1 and 2"),
    "machines": (trainer(num_nodes=2), None, r"`trainer\.num_nodes` of 1 in a sweep"),
}


@pytest.mark.parametrize(("settings", "per_job", "message"), REFUSED.values(), ids=REFUSED)
def test_devices_needed__refused(settings: dict[str, Any], per_job: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        devices_needed(settings, per_job, available=2)
