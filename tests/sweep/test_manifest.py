"""Manifest: sweep.json, and metrics.csv as a sweep reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.sweep.manifest import Manifest, SweepJob, read_entries, read_metrics


def job(root: Path, name: str, **values: Any) -> SweepJob:
    return SweepJob(name, root / name, [f"name={name}"], ["true"], model="resnet18", method="frozen", **values)


def test_write__the_whole_schema(tmp_path: Path) -> None:
    entry = job(tmp_path, "a", state="failed", exit_status=-9, reason="killed", seconds=1.5, devices=["0"], seed=3)

    Manifest(tmp_path, ["brain-tumor-tl", "train", "-m"]).write([entry])

    content = json.loads((tmp_path / "sweep.json").read_text())
    assert list(content) == ["schema", "command", "started", "jobs"]
    assert (content["schema"], content["command"]) == (1, ["brain-tumor-tl", "train", "-m"])
    assert content["started"].endswith("+00:00")
    assert content["jobs"] == [
        {
            "name": "a", "folder": "a", "overrides": ["name=a"], "model": "resnet18", "method": "frozen", "seed": 3,
            "state": "failed", "exit_status": -9, "reason": "killed", "seconds": 1.5, "devices": ["0"],
        }
    ]  # fmt: skip


def test_write__other_sweeps_jobs_stay(tmp_path: Path) -> None:
    Manifest(tmp_path, ["first"]).write([job(tmp_path, "a", state="done"), job(tmp_path, "b", state="failed")])
    Manifest(tmp_path, ["second"]).write([job(tmp_path, "b"), job(tmp_path, "c")])

    content = json.loads((tmp_path / "sweep.json").read_text())
    assert content["command"] == ["second"]
    assert [(entry["name"], entry["state"]) for entry in content["jobs"]] == [
        ("a", "done"), ("b", "waiting"), ("c", "waiting"),
    ]  # fmt: skip


def test_entry__folder_beside_the_sweeps(tmp_path: Path) -> None:
    assert SweepJob("a", tmp_path / "x" / "a", [], []).entry(tmp_path / "y")["folder"] == "../x/a"


OTHERS = {
    "absent": None,
    "broken": "{",
    "list": "[]",
    "another-version": '{"schema": 2, "jobs": [{"name": "a"}]}',
    "other-jobs": '{"schema": 1, "jobs": [1]}',
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_read_entries__of_something_else(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)

    assert read_entries(tmp_path / "sweep.json") == []


METRICS = {
    "absent": (None, []),
    "empty": ("", []),
    "missing-values": ("epoch,loss\n1,0.5\n2,\n", [{"epoch": 1, "loss": 0.5}, {"epoch": 2}]),
    "no-epoch": ("a,b\n1,2\n", []),
    "no-number": ("epoch,loss\nx,0.5\n", []),
    "too-many-cells": ("epoch,loss\n1,0.5,3\n", []),
}


@pytest.mark.parametrize(("content", "rows"), METRICS.values(), ids=METRICS)
def test_read_metrics__rows(content: str | None, rows: list[dict[str, float]], tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "metrics.csv").write_text(content)

    assert read_metrics(tmp_path) == rows
