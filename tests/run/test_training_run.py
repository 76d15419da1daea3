"""TrainingRun: what a resumed run tells TensorBoard, and what a run leaves out of its batches."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from brain_tumor_tl.files import read_csv
from brain_tumor_tl.run.callbacks import EpochRecorder
from brain_tumor_tl.run.checkpoints import Checkpoints
from brain_tumor_tl.run.kept import keep
from brain_tumor_tl.run.training_run import TrainingRun

Settings = dict[str, Any]


@pytest.fixture
def settings(finished_runs: dict[str, Path]) -> Settings:
    """The settings of a finished frozen run, whose images and features are cached; a test may change them."""
    loaded: Settings = yaml.safe_load((finished_runs["frozen"] / "config.yaml").read_text())
    return copy.deepcopy(loaded)


def test_train__a_resume_takes_back_what_tensorboard_has_of_later_epochs_E01(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is interrupted in epoch 4, when only the first epoch is saved."""
    settings["trainer"]["max_epochs"] = 5
    start, save = EpochRecorder.on_train_epoch_start, Checkpoints._save_last

    def interrupt(self: EpochRecorder, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 3:
            raise KeyboardInterrupt
        start(self, trainer, pl_module)

    def save_first(self: Checkpoints, trainer: Any, epoch: int) -> None:
        if epoch == 0:
            save(self, trainer, epoch)

    with monkeypatch.context() as patched:
        patched.setattr(EpochRecorder, "on_train_epoch_start", interrupt)
        patched.setattr(Checkpoints, "_save_last", save_first)
        with pytest.raises(KeyboardInterrupt):
            TrainingRun(settings, tmp_path).train()

    results = TrainingRun(settings, tmp_path, resume=True).train()

    assert results["epochs"] == 5
    for place in (tmp_path / "train", tmp_path / "val"):
        events = EventAccumulator(str(place)).Reload()
        assert [event.step for event in events.Scalars("metrics/loss")] == [1, 2, 3, 4, 5]
    assert [row["epoch"] for row in read_csv(tmp_path / "metrics.csv")] == ["1", "2", "3", "4", "5"]


def test_init__a_damaged_checkpoint_is_named_before_any_work_T10(
    settings: Settings, finished_runs: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(finished_runs["frozen"], tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    with pytest.raises(ValueError, match=r"can't be resumed from .*last\.ckpt: it is damaged\. .*force=true"):
        TrainingRun(settings, tmp_path / "run", resume=True)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_load_best_weights__never_takes_the_last_for_the_best_T12(settings: Settings, tmp_path: Path) -> None:
    run = TrainingRun(settings, tmp_path)
    run.checkpoints.best = 0.5
    with pytest.raises(FileNotFoundError, match=r"best\.ckpt"):
        run.load_best_weights()


def test_train__a_last_batch_of_one_image_is_left_out_and_told_P8(
    settings: Settings, tmp_path: Path, messages: list[str]
) -> None:
    settings["method"] |= {"name": "finetune", "freeze": False}
    settings["data"] |= {"image_size": 32, "val_fraction": 0.0, "batch_size": 50}
    settings["trainer"]["max_epochs"] = 1
    run = TrainingRun(settings, tmp_path)
    assert (run.counts["train"], run.min_images) == (51, 2)

    run.train()

    assert any("of 50 images; the last of each epoch, of 1, is left out (data.drop_last)" in text for text in messages)
    assert sum(map(sum, run.model.confusion["train"])) == 50


def test_train__the_profilers_table_is_in_the_folder_T08(
    settings: Settings, tmp_path: Path, messages: list[str]
) -> None:
    settings["trainer"] |= {"profiler": "simple", "max_epochs": 1}

    TrainingRun(settings, tmp_path).train()

    assert "run_training_epoch" in (tmp_path / "fit-profile.txt").read_text()
    assert "test_step" in (tmp_path / "test-profile.txt").read_text()
    assert any(str(tmp_path / "fit-profile.txt") in text for text in messages)


def test_train__stops_at_a_loss_that_is_not_finite(settings: Settings, tmp_path: Path) -> None:
    settings["optimizer"] |= {"name": "SGD", "lr": 1e38}
    with pytest.raises(ValueError, match=r"The loss is not a finite number since epoch \d.*lower optimizer\.lr"):
        TrainingRun(settings, tmp_path).train()
    assert not (tmp_path / "results.json").exists()


KEYS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "tf32": lambda patch: patch.setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32),
    "deterministic": lambda patch: patch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True),
    "torch": lambda patch: patch.setattr(torch, "__version__", "0.0"),
    "unchanged": lambda patch: None,
}


@pytest.mark.parametrize("change", KEYS)
def test_keep__the_key_holds_all_that_changes_their_bits(
    change: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def opened(backbone: Any, batches: Any, count: int, *, key: str, **_: Any) -> Any:
        keys.append(key)
        return Mock(array=np.zeros((count, 2), np.float32), built=False, **{"megabytes.return_value": 0.0})

    monkeypatch.setattr("brain_tumor_tl.run.kept.load_features", opened)
    run = TrainingRun(settings, tmp_path)
    keep(run)
    KEYS[change](monkeypatch)
    keep(run)
    assert (keys[0] == keys[1]) == (change == "unchanged")
