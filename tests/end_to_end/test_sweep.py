"""Whole sweeps: killed and started again, failed jobs, several processes a job, the study's grid."""

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


@pytest.mark.slow
def test_sweep__killed_and_started_again_equals_an_uninterrupted_one(tmp_path: Path, small_job: list[str]) -> None:
    line = (*small_job, "-m", "method=frozen,finetune", "optimizer.lr=0.01,0.001", "trainer.max_epochs=8")
    cut, whole = (tmp_path / "outputs" / "sweeps" / name for name in ("cut", "whole"))
    process = start(tmp_path, *line, "sweep=cut")
    in_work = cut / "shufflenet_v2_x0_5-finetune-s0-lr0.01"
    wait_until((in_work / "checkpoints" / "last.ckpt").exists, process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 10
    while processes_of(cut):
        assert time.monotonic() < deadline, "a job outlived its launcher"
        time.sleep(0.05)
    assert not (in_work / "results.json").exists()
    finished = {path.parent.name: path.stat().st_mtime_ns for path in cut.rglob("results.json")}
    assert len(finished) == 2

    output = finish(start(tmp_path, *line, "sweep=cut"))

    assert "2 finished before" in output
    assert output.count("start   ") == 2
    states = {name: entry["state"] for name, entry in entries(cut).items()}
    assert sorted(states.values()) == ["done", "done", "skipped", "skipped"]
    assert {name for name, state in states.items() if state == "skipped"} == set(finished)
    assert all((cut / name / "results.json").stat().st_mtime_ns == at for name, at in finished.items())
    assert "Resume    from" in (in_work / "console.log").read_text()
    finish(start(tmp_path, *line, "sweep=whole"))
    assert figures(cut) == figures(whole)
    assert len(figures(whole)) == 4


@pytest.mark.slow
def test_sweep__failed_job_costs_itself_and_runs_again(tmp_path: Path, small_job: list[str]) -> None:
    line = (*small_job, "-m", "method=frozen", "model.weights=null,weights.pth", "launcher.jobs=2")
    output = finish(start(tmp_path, *line), status=1)
    sweep = tmp_path / "outputs" / "sweeps" / "adhoc"
    bad, good = (f"shufflenet_v2_x0_5-frozen-s0-weights_{name}" for name in ("weights.pth", "null"))
    for text in (f"FAILED  {bad}", "got weights.pth, which is no file", "all of it: ", "1 of 2 jobs are not finished"):
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
def test_sweep__interrupt_leaves_nothing_behind(tmp_path: Path, small_job: list[str]) -> None:
    process = start(tmp_path, *small_job, "-m", "seed=0,1", "trainer.max_epochs=1000")
    sweep = tmp_path / "outputs" / "sweeps" / "adhoc"
    wait_until((sweep / "shufflenet_v2_x0_5-finetune-s0" / "checkpoints" / "last.ckpt").exists, process)
    process.send_signal(signal.SIGTERM)

    output = finish(process, status=128 + signal.SIGTERM)

    assert "Stopped by SIGTERM; the same command goes on." in output
    assert processes_of(sweep) == []
    assert [entry["state"] for entry in entries(sweep).values()] == ["interrupted", "waiting"]


@pytest.mark.slow
def test_sweep__two_processes_a_job_agree_with_one(tmp_path: Path, small_job: list[str]) -> None:
    line = (*small_job, "-m", "method=frozen", "data.batch_size=16", "seed=0,1")
    finish(start(tmp_path, *line, "sweep=two", "trainer.devices=2", "trainer.strategy=ddp"))
    finish(start(tmp_path, *line, "sweep=one"))

    one, two = (figures(tmp_path / "outputs" / "sweeps" / name) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert len(one) == 2
    for name in one:
        assert one[name]["confusion_matrix"] == two[name]["confusion_matrix"]
        # The halves of each batch are equal, so the mean of two gradients is the batch's: float32 noise is left.
        assert two[name]["loss"] == pytest.approx(one[name]["loss"], abs=1e-5)
        log = (tmp_path / "outputs" / "sweeps" / "two" / name / "console.log").read_text()
        assert log.count("Epoch 3/3") == 1


@pytest.mark.slow
def test_sweep__the_grid_with_one_command(tmp_path: Path, small_job: list[str]) -> None:
    settings = [line for line in small_job if not line.startswith("model.name=")]
    output = finish(start(tmp_path, *settings, "--config-name", "grid", "trainer.max_epochs=1"))

    sweep = tmp_path / "outputs" / "sweeps" / "grid"
    assert "Done      14 of 14 in outputs/sweeps/grid" in output
    assert [entry["state"] for entry in entries(sweep).values()] == ["done"] * 14
    assert len(figures(sweep)) == 14
    assert "14 of 14 runs done" in output, "the report has them all"
    assert {"report.html", "report.md", "report.csv"} <= {path.name for path in sweep.iterdir()}


@pytest.mark.slow
def test_sweep__pretended_devices_reach_the_jobs(tmp_path: Path, small_job: list[str]) -> None:
    settings = [line for line in small_job if line != "trainer=cpu"]
    flags = ("launcher.jobs=1", "launcher.devices_per_job=2")
    line = (*settings, "-m", "method=frozen", "seed=0,1", "trainer.max_epochs=1", *flags)
    pool = {"CUDA_VISIBLE_DEVICES": "1,3", "BRAIN_TUMOR_TL_LEASES": str(tmp_path / "leases")}

    output = finish(start(tmp_path, *line, **pool))

    assert output.count("on devices 1,3") == 2
    found = entries(tmp_path / "outputs" / "sweeps" / "adhoc")
    assert [entry["devices"] for entry in found.values()] == [["1", "3"]] * 2
