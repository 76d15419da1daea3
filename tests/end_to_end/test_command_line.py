"""Whole commands in processes of their own: from any folder, in a sweep, on two processes, with bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.run.checkpoints import epochs_in

COMMAND = (sys.executable, "-m", "brain_tumor_tl", "train")


def start(folder: Path, small_job: list[str], *overrides: str) -> subprocess.Popen[str]:
    line = [*COMMAND, *small_job, *overrides]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.Popen(
        line, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return content


def test_train__one_run_from_any_folder(tmp_path: Path, small_job: list[str]) -> None:
    output = finish(start(tmp_path, small_job, "method=frozen", "name=one"))
    folder = tmp_path / "outputs" / "runs" / "one"
    assert results(folder)["epochs"] == 3
    assert len(output.splitlines()) < 40  # a screen
    assert output.count("Random split of single images") == 1
    for text in (
        "data.image_size=32",
        "3 epochs, batches of",
        "Epoch 3/3",
        "SYNTHETIC",
        "precision",
        "tensorboard --logdir",
        "brain-tumor-tl report",
    ):
        assert text in output
    assert "Epoch 3/3" in (folder / "train.log").read_text(encoding="utf-8")
    assert not (folder / ".hydra").exists()
    again = finish(start(tmp_path, small_job, "method=frozen", "name=one", "--verbose"))
    assert "is done already" in again
    assert "max_epochs: 3" in again
    refused = finish(start(tmp_path, small_job, "method=frozen", "name=one", "optimizer.lr=0.1"), status=1)
    assert "holds a run with other settings" in refused
    assert "Traceback" not in refused


def test_train__sweep_in_one_process_goes_on_after_a_failed_job(tmp_path: Path, small_job: list[str]) -> None:
    line = ["-m", "hydra/launcher=basic", "method=frozen", "model.weights=missing.pth,null", "name=w-${model.weights}"]
    output = finish(start(tmp_path, small_job, *line, "sweep=adhoc"), status=1)
    assert "got missing.pth, which is no file" in output
    done = sorted(path.parent.name for path in (tmp_path / "outputs" / "sweeps" / "adhoc").rglob("results.json"))
    assert done == ["w-None"]
    report = subprocess.run(
        [sys.executable, "-m", "brain_tumor_tl", "report", "outputs/sweeps/adhoc"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert re.search(r"^shufflenet_v2_x0_5 +frozen +1 ", report.stdout, re.MULTILINE)
    assert "runs done" in report.stdout  # a run that was refused leaves no folder


def test_train__interrupted_run_resumes(tmp_path: Path, small_job: list[str]) -> None:
    overrides = ("method=finetune", "trainer.max_epochs=12", "name=cut")
    folder = tmp_path / "outputs" / "runs" / "cut"
    process = start(tmp_path, small_job, *overrides)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "results.json").exists()
    output = finish(start(tmp_path, small_job, *overrides))
    assert "Resume    from" in output
    assert results(folder)["epochs"] == 12
    finish(start(tmp_path, small_job, *overrides, "name=whole"))
    assert results(folder)["confusion_matrix"] == results(folder.with_name("whole"))["confusion_matrix"]
    assert results(folder)["loss"] == results(folder.with_name("whole"))["loss"]


def test_train__interrupt_key_ends_with_its_own_status(tmp_path: Path, small_job: list[str]) -> None:
    process = start(tmp_path, small_job, "method=finetune", "trainer.max_epochs=1000", "name=key")
    folder = tmp_path / "outputs" / "runs" / "key"
    deadline = time.monotonic() + 120
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    kept = epochs_in(folder / "checkpoints" / "last.ckpt")  # E01: what is told is what is saved
    assert f"saved up to epoch {kept}, and the same command resumes" in output
    assert not (folder / "results.json").exists()


@pytest.mark.slow
def test_train__two_processes_agree_with_one(tmp_path: Path, small_job: list[str]) -> None:
    for name, flags in (("one", ()), ("two", ("trainer.devices=2", "trainer.strategy=ddp"))):
        output = finish(start(tmp_path, small_job, "method=frozen", "data.batch_size=16", f"name={name}", *flags))
        assert not re.search("warn|recommend|sync_dist", output, re.IGNORECASE), output
    one, two = (results(tmp_path / "outputs" / "runs" / name) for name in ("one", "two"))
    assert one["confusion_matrix"] == two["confusion_matrix"]
    assert sum(map(sum, two["confusion_matrix"])) == 10
    # The last batch of 6 splits evenly too, so the mean of the two gradients is the batch's own: float32 noise is left.
    assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)


@pytest.mark.slow
def test_train__a_killed_process_ends_the_others_in_a_sentence(tmp_path: Path, small_job: list[str]) -> None:
    flags = ("trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=10000", "name=two")
    process = start(tmp_path, small_job, "method=finetune", *flags)
    folder = tmp_path / "outputs" / "runs" / "two"
    deadline = time.monotonic() + 300
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    (further,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(further), signal.SIGKILL)
    killed = time.monotonic()
    output = finish(process, status=1)
    assert time.monotonic() - killed < 60
    assert "Traceback" not in output
    said = "Another process of this run on several devices has ended"
    kept = epochs_in(folder / "checkpoints" / "last.ckpt")
    assert re.search(rf"error: {said}, .*; the run is saved up to epoch {kept}, and the same command resumes", output)


def test_train__several_devices_in_an_in_process_sweep_are_refused(tmp_path: Path, small_job: list[str]) -> None:
    flags = ("trainer.devices=2", "trainer.strategy=ddp")
    output = finish(start(tmp_path, small_job, "-m", "hydra/launcher=basic", "seed=0,1", *flags), status=1)
    assert "Expected one device for a job of a multirun" in output
    assert not list(tmp_path.rglob("results.json"))
