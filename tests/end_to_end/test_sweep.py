"""Whole sweeps: interrupted and resumed, failed jobs, several processes per job, a small grid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Entries = dict[str, dict[str, Any]]


def start(folder: Path, *line: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "brain_tumor_tl", "train", *line],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    output, _ = process.communicate(timeout=1800)
    assert process.returncode == status, output
    return output


def entries(sweep: Path) -> Entries:
    """Return the jobs of a sweep's manifest by their names."""
    content = json.loads((sweep / "sweep.json").read_text(encoding="utf-8"))
    return {entry["name"]: entry for entry in content["jobs"]}


def figures(sweep: Path) -> dict[str, Any]:
    """Return every number of a sweep's runs that is not a time."""
    found = {path.parent.name: json.loads(path.read_text()) for path in sweep.rglob("results.json")}
    kept = ("accuracy", "best_accuracy", "best_epoch", "epochs", "loss", "per_class", "confusion_matrix")
    return {name: {key: run[key] for key in kept} for name, run in found.items()}


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def processes_of(folder: Path) -> list[int]:
    """Return the processes whose command line names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def end_midway(process: subprocess.Popen[str], folder: Path, number: signal.Signals, checkpoints: int) -> str:
    """Send a signal to a sweep once a run has written its last checkpoint anew so often; return the output."""
    seen: set[int] = set()
    path = folder / "checkpoints" / "last.ckpt"

    def written() -> bool:
        seen.update({path.stat().st_mtime_ns} if path.exists() else ())
        return len(seen) >= checkpoints

    wait_until(written, process)
    process.send_signal(number)
    return process.communicate(timeout=60)[0]


@pytest.mark.slow
def test_sweep__stopped_killed_and_resumed_equals_an_uninterrupted_one(tmp_path: Path, small_job: list[str]) -> None:
    line = (*small_job, "-m", "method=frozen,finetune", "trainer.max_epochs=12")
    cut, whole = (tmp_path / "outputs" / "sweeps" / name for name in ("cut", "whole"))
    first, second = (cut / f"shufflenet_v2_x0_5-{method}-s0" for method in ("frozen", "finetune"))

    process = start(tmp_path, *line, "sweep=cut")
    output = end_midway(process, second, signal.SIGTERM, checkpoints=1)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert "Stopped by SIGTERM; the same command " in output
    assert processes_of(cut) == []
    assert [entry["state"] for entry in entries(cut).values()] == ["done", "interrupted"]
    finished = (first / "results.json").stat().st_mtime_ns

    process = start(tmp_path, *line, "sweep=cut")
    end_midway(process, second, signal.SIGKILL, checkpoints=2)
    deadline = time.monotonic() + 10
    while processes_of(cut):
        assert time.monotonic() < deadline, "a job outlived its launcher"
        time.sleep(0.05)
    assert not (second / "results.json").exists()

    output = finish(start(tmp_path, *line, "sweep=cut"))
    assert "1 finished before" in output
    assert output.count("start   ") == 1
    assert [entry["state"] for entry in entries(cut).values()] == ["skipped", "done"]
    assert (first / "results.json").stat().st_mtime_ns == finished
    assert (second / "console.log").read_text().count("Resume    from") == 2
    finish(start(tmp_path, *line, "sweep=whole"))
    assert figures(cut) == figures(whole)
    assert len(figures(whole)) == 2


@pytest.mark.slow
def test_sweep__failed_job_costs_itself_and_runs_again(tmp_path: Path, small_job: list[str]) -> None:
    line = (*small_job, "-m", "method=frozen", "model.weights=null,weights.pth", "launcher.jobs=2", "sweep=mine")
    output = finish(start(tmp_path, *line), status=1)
    sweep = tmp_path / "outputs" / "sweeps" / "mine"
    bad, good = (f"shufflenet_v2_x0_5-frozen-s0-weights_{name}" for name in ("weights.pth", "null"))
    for text in (
        f"FAILED  {bad}",
        "got weights.pth, which is no file",
        "full output: ",
        "1 of 2 jobs are not finished",
    ):
        assert text in output
    assert "Traceback" not in output
    before = entries(sweep)
    assert (before[bad]["state"], before[bad]["exit_status"], before[good]["state"]) == ("failed", 1, "done")
    assert "got weights.pth" in before[bad]["reason"]

    again = finish(start(tmp_path, *line), status=1)

    assert "1 finished before" in again
    assert again.count("start   ") == 1
    refused = finish(start(tmp_path, *line, "data.batch_size=4"), status=1)
    assert f"{good} holds a run with other settings (data.batch_size: 8 -> 4)" in refused
    assert "start   " not in refused


@pytest.mark.slow
def test_sweep__two_processes_a_job_agree_with_one(tmp_path: Path, small_job: list[str]) -> None:
    line = (*small_job, "-m", "method=frozen", "data.batch_size=16")
    finish(start(tmp_path, *line, "sweep=two", "trainer.devices=2", "trainer.strategy=ddp"))
    finish(start(tmp_path, *line, "sweep=one"))

    (one,), (two,) = (figures(tmp_path / "outputs" / "sweeps" / name).values() for name in ("one", "two"))
    assert one["confusion_matrix"] == two["confusion_matrix"]
    # Both halves of each batch have the same size, so the mean of their gradients is the batch's: only float32
    # rounding differs.
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
    (log,) = (tmp_path / "outputs" / "sweeps" / "two").glob("*/console.log")
    assert log.read_text().count("Epoch 3/3") == 1


@pytest.mark.slow
def test_sweep__small_grid_with_one_command(tmp_path: Path, small_job: list[str]) -> None:
    """Two networks of the grid's seven; tests/cli/test_multirun.py shows the plan of all 14 jobs."""
    settings = [line for line in small_job if not line.startswith("model.name=")]
    networks = "model=shufflenet_v2_x1_0,mobilenet_v2"
    output = finish(start(tmp_path, *settings, "--config-name", "grid", networks, "trainer.max_epochs=1"))

    sweep = tmp_path / "outputs" / "sweeps" / "grid"
    assert "Done      4 of 4 in outputs/sweeps/grid" in output
    assert [entry["state"] for entry in entries(sweep).values()] == ["done"] * 4
    assert len(figures(sweep)) == 4
    assert "4 of 4 runs done" in output, "the report has them all"
    assert {"report.html", "report.md", "report.csv"} <= {path.name for path in sweep.iterdir()}


@pytest.mark.slow
def test_sweep__pretended_devices_reach_the_jobs(tmp_path: Path, small_job: list[str]) -> None:
    settings = [line for line in small_job if line != "trainer=cpu"]
    flags = ("launcher.jobs=1", "launcher.devices_per_job=2")
    line = (*settings, "-m", "method=frozen", "seed=0", "trainer.max_epochs=1", *flags)
    pool = {"CUDA_VISIBLE_DEVICES": "1,3", "BRAIN_TUMOR_TL_LEASES": str(tmp_path / "leases")}

    output = finish(start(tmp_path, *line, **pool))

    assert output.count("on devices 1,3") == 1
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    found = entries(sweep)
    assert [entry["devices"] for entry in found.values()] == [["1", "3"]]
