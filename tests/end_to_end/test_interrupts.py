"""Interrupts: whatever moment of a run a signal comes in, it ends the same way, and what it says was kept was kept."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest

from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.cli.signals import interrupt_on_signals
from brain_tumor_tl.cli.train import run_locked
from brain_tumor_tl.console import run_log
from brain_tumor_tl.data.module import TumorData
from brain_tumor_tl.run import checkpoints
from brain_tumor_tl.run.callbacks import EpochRecorder
from brain_tumor_tl.run.checkpoints import epochs_in
from brain_tumor_tl.run.failure import kept
from brain_tumor_tl.run.training_run import TrainingRun

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Handle signals as the command does."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    interrupt_on_signals()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def settings(small_job: list[str]) -> dict[str, Any]:
    """Settings of a tiny frozen run."""
    line = [*small_job, "model.name=squeezenet1_1", "method=frozen", "trainer.enable_progress_bar=false", "name=run"]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return checked_settings(hydra.compose("train", line))


# A function of the run, which call of it gets the signal, how many epochs are saved then.
MOMENTS: dict[str, tuple[type, str, int, int]] = {
    "reading": (TumorData, "setup", 1, 0),
    "first-epoch": (EpochRecorder, "on_train_epoch_start", 1, 0),
    "writing-a-row": (EpochRecorder, "on_train_epoch_end", 2, 1),
    "last-epoch": (EpochRecorder, "on_train_epoch_start", 3, 2),
    "before-the-test": (TrainingRun, "load_best_weights", 1, 3),
    "before-the-results": (TrainingRun, "finish", 1, 3),
}


# The signals are told apart in one place, which two moments show.
@pytest.mark.parametrize(
    ("moment", "number"),
    [(moment, signal.SIGTERM) for moment in MOMENTS]
    + [(moment, number) for moment in ("first-epoch", "before-the-test") for number in (signal.SIGINT, signal.SIGHUP)],
)
def test_run_locked__a_signal_at_any_moment(
    moment: str,
    number: signal.Signals,
    settings: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    owner, name, call, kept = MOMENTS[moment]
    original, calls = getattr(owner, name), []

    def interrupted(*arguments: Any, **keywords: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), number)
        return original(*arguments, **keywords)

    monkeypatch.setattr(owner, name, interrupted)
    monkeypatch.setattr(checkpoints, "SHARE", float("inf"))  # last.ckpt after every epoch
    with run_log(tmp_path / "train.log"), pytest.raises(SystemExit) as end:
        run_locked(settings, tmp_path, {}, child=False)
    assert end.value.code == 128 + number
    assert epochs_in(tmp_path / "checkpoints" / "last.ckpt") == kept
    until = f"the run is saved up to epoch {kept}, and the same command resumes after it"
    said = f"Interrupted; {until if kept else 'no epoch is saved yet, so the same command starts anew'}."
    assert said in capsys.readouterr().out.replace("\n", " ")
    assert said in (tmp_path / "train.log").read_text()
    assert not (tmp_path / "results.json").exists()


def test_run_locked__a_signal_after_the_results(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("brain_tumor_tl.cli.train.show", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with run_log(tmp_path / "train.log"), pytest.raises(SystemExit) as end:
        run_locked(settings, tmp_path, {}, child=False)
    assert end.value.code == 143
    assert "Interrupted; the run is done, and its results are in" in capsys.readouterr().out
    assert json.loads((tmp_path / "results.json").read_text())["epochs"] == 3


def test_kept__where_another_run_is(settings: dict[str, Any], finished_runs: dict[str, Path]) -> None:
    assert kept(finished_runs["frozen"], settings).startswith("the other run in ")
