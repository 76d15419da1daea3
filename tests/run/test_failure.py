"""Failure: a full disk, files that vanish and memory that is too small, each in a sentence that says what is safe."""

from __future__ import annotations

import errno
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from brain_tumor_tl.cli.train import run_locked
from brain_tumor_tl.console import log, run_log
from brain_tumor_tl.run import checkpoints
from brain_tumor_tl.run.callbacks import EpochRecorder
from brain_tumor_tl.run.checkpoints import Checkpoints
from brain_tumor_tl.run.failure import explained, is_out_of_memory, kept
from brain_tumor_tl.run.training_run import TrainingRun

Settings = dict[str, Any]
ANEW = "no epoch is saved yet, so the same command starts anew"


@pytest.fixture
def settings(finished_runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a finished frozen run, whose images and features are cached."""
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))  # last.ckpt after every epoch
    settings: Settings = yaml.safe_load((finished_runs["frozen"] / "config.yaml").read_text())
    settings["trainer"] |= {"max_epochs": 3, "enable_progress_bar": False}
    return settings


def train(settings: Settings, folder: Path) -> dict[str, Any]:
    """Train as the command does."""
    folder.mkdir(parents=True, exist_ok=True)
    with run_log(folder / "train.log"):
        return run_locked(settings, folder, {}, child=False)


@contextmanager
def full_after(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size in bytes, as the soft limit of a shell does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Bytes that a file may have, what can't be written, what is saved by then.
LIMITS = {
    "settings": (1_000, "/config.yaml", ANEW),
    "checkpoint": (30_000, "[^:]*", ANEW),
    "backbone": (
        600_000,
        "/checkpoints/last.ckpt",
        "the run is saved up to epoch 3, and the same command resumes after it",
    ),
}


@pytest.mark.parametrize(("size", "path", "safe"), LIMITS.values(), ids=LIMITS)
def test_run_locked__on_a_full_disk(
    size: int, path: str, safe: str, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    with (
        full_after(size),
        pytest.raises(OSError, match=rf"^Can't write {folder}{path}: File too large\. Make room there, .*: {safe}\.$"),
    ):
        train(settings, folder)
    assert "Traceback" not in "".join(capsys.readouterr())
    assert not [path.name for path in folder.rglob("*") if path.name.endswith(".tmp")]

    results = train(settings, folder)

    assert results["epochs"] == 3
    assert "Traceback" not in "".join(capsys.readouterr())


VANISH: dict[str, tuple[type, str, int, str]] = {
    "in-an-epoch": (EpochRecorder, "on_train_epoch_end", 2, ""),
    "before-a-checkpoint": (Checkpoints, "on_train_epoch_end", 2, ""),
    "before-the-test": (TrainingRun, "load_best_weights", 1, ""),
    "before-the-results": (TrainingRun, "finish", 1, ""),
    "checkpoints-alone": (TrainingRun, "load_best_weights", 1, "checkpoints"),
}


@pytest.mark.parametrize(("owner", "name", "call", "what"), VANISH.values(), ids=VANISH)
def test_run_locked__outputs_are_removed_under_it(
    owner: type, name: str, call: int, what: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, original, calls = tmp_path / "run", getattr(owner, name), []

    def removed(*arguments: Any) -> Any:
        calls.append(name)
        if len(calls) == call:
            shutil.rmtree(folder / what)
        return original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, removed)
        with pytest.raises(OSError, match=rf"^{folder}.* is gone: it was removed while the run was going on; .*\.$"):
            train(settings, folder)


def test_run_log__goes_on_without_a_file_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with run_log(tmp_path / "absent" / "train.log"):
        log.info("one")
        log.info("two")
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("WARNING")] == ["one", "two"]
    assert len(lines) == 3
    (warned,) = [line for line in lines if line.startswith("WARNING")]
    assert warned.endswith("absent/train.log can't be written: No such file or directory. The run goes on without it.")


MEMORY: dict[str, tuple[Exception, str]] = {
    "gpu": (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.17 GiB. GPU 0 has a total capacity of 8 GiB"),
        r"than the GPU has free \(1\.17 GiB more\)",
    ),
    "processor": (
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried to "
                     "allocate 99 bytes"),
        "than this machine has free",
    ),
    "numpy": (MemoryError("Unable to allocate 60. GiB"), "than this machine has free"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "match"), MEMORY.values(), ids=MEMORY)
def test_explained__too_little_memory(error: Exception, match: str, settings: Settings, tmp_path: Path) -> None:
    found = str(explained(error, tmp_path, settings))
    assert found.startswith("shufflenet_v2_x0_5 with data.batch_size=8 images of data.image_size=64 pixels needs more")
    assert re.search(match, found)
    assert "smaller data.batch_size" in found
    assert ANEW in found


def test_is_out_of_memory__of_this_machine_itself() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)


def test_explained__a_process_of_the_run_is_gone(settings: Settings, tmp_path: Path) -> None:
    error = RuntimeError("[/pytorch/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:5821")
    assert str(explained(error, tmp_path, settings)).endswith(f"killed from outside; {ANEW}.")


OTHERS: dict[str, Exception] = {
    "value": ValueError("wrong"),
    "foreign-file": FileNotFoundError(errno.ENOENT, "No such file or directory", "/elsewhere/image.png"),
    "in-words": OSError("The download broke off."),
    "fault": RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
}


@pytest.mark.parametrize("error", OTHERS.values(), ids=OTHERS)
def test_explained__leaves_other_errors_alone(error: Exception, settings: Settings, tmp_path: Path) -> None:
    assert explained(error, tmp_path, settings) is None


def test_explained__an_error_among_its_own_causes(settings: Settings, tmp_path: Path) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert explained(first, tmp_path, settings) is None


def test_kept__where_the_settings_are_gone(settings: Settings, finished_runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(finished_runs["frozen"] / "checkpoints", tmp_path / "checkpoints")
    assert kept(tmp_path, settings).endswith("can't be resumed, and force=true trains anew in its place")
