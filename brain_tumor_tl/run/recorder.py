"""Recorder: a Lightning callback that keeps one row an epoch and shows it in metrics.csv and TensorBoard."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from brain_tumor_tl.console import log
from brain_tumor_tl.files import write_csv
from brain_tumor_tl.reporting.plots import confusion_figure, pixels

FINAL = ("accuracy", "best_accuracy", "balanced_accuracy", "macro_f1", "loss")


class EpochRecorder(L.Callback):
    """Keeps loss, metrics, learning rate, time, speed and memory of each epoch, through a resume as well.

    The module it watches has `summarize(stage)`, numbers by name, and `confusion`, a matrix by stage.

    Args:
        folder: The run's folder.
        monitored: The part that is looked at after each epoch: "val" or "test".
        classes: Name of each class.
        confusion_every: Draw the confusion matrix every so many epochs; 0 for never.
        note: What every figure says of the images, such as that they are synthetic.
    """

    def __init__(self, folder: Path, monitored: str, classes: list[str], confusion_every: int, note: str = "") -> None:
        self.folder, self.monitored, self.note = folder, monitored, note
        self.classes, self.confusion_every = classes, confusion_every
        self.rows: list[dict[str, Any]] = []
        self.seconds_before = 0.0  # of the run's earlier legs, where it was cut
        self._began = time.perf_counter()
        self._started = self._trained = self._validated = self._rate = 0.0
        self._drawn: Any = None  # stage, epoch and matrix that TensorBoard got last

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, for the checkpoint; as one text, for thousands of small objects take long to pickle."""
        return {"rows": json.dumps(self.rows), "seconds": self.seconds_before + time.perf_counter() - self._began}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of a checkpoint."""
        self.rows, self.seconds_before = json.loads(state_dict["rows"]), state_dict["seconds"]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock of the training part, and note the learning rate before a scheduler moves it on."""
        self._started = self._trained = self._validated = now(pl_module.device)
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock of the training part."""
        self._trained = self._validated = now(pl_module.device)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock of the monitored part."""
        self._validated = now(pl_module.device)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's row."""
        row = self._row(trainer, pl_module)
        self.rows.append(row)
        if not math.isfinite(row["train/loss"]):
            log.warning(f"The loss of epoch {row['epoch']} is not a finite number; a lower optimizer.lr may help.")
        if not trainer.is_global_zero:
            return
        write_csv(self.folder / "metrics.csv", self.rows)
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in row.items() if k != "epoch"}, step=row["epoch"])
        looked = f"{self.monitored}/accuracy" in row
        if looked and self.confusion_every and row["epoch"] % self.confusion_every == 0:
            self.draw_confusion(trainer, pl_module, self.monitored, row["epoch"])

    def draw_confusion(self, trainer: L.Trainer, pl_module: Any, stage: str, epoch: int) -> None:
        """Send the stage's confusion matrix of an epoch to TensorBoard, where it does not have it yet."""
        new = stage, epoch, pl_module.confusion.get(stage)
        if new[-1] is None or self._drawn == new:
            return
        self._drawn = new
        title = f"{stage} part, epoch {epoch}" + (f", {self.note}" if self.note else "")
        figure = confusion_figure(pl_module.confusion[stage], self.classes, title)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(f"confusion_matrix/{stage}", pixels(figure), epoch, dataformats="HWC")

    def _row(self, trainer: L.Trainer, module: Any) -> dict[str, Any]:
        """Return the epoch's row; the monitored part's columns are absent where it was not looked at."""
        if self._trained == self._started:
            self._trained = now(module.device)
        train_seconds = self._trained - self._started
        row: dict[str, Any] = {"epoch": trainer.current_epoch + 1}
        row |= {f"train/{name}": value for name, value in module.summarize("train").items()}
        if self._validated > self._trained:
            row |= {f"{self.monitored}/{name}": value for name, value in module.summarize(self.monitored).items()}
            row[f"seconds/{self.monitored}"] = self._validated - self._trained
        row["learning_rate"] = self._rate
        row["seconds/train"] = train_seconds
        row["images_per_second/train"] = sum(map(sum, module.confusion["train"])) / max(train_seconds, 1e-9)
        row["memory_megabytes"] = memory_megabytes(module.device)
        return row


def log_final(logger: TensorBoardLogger, settings: Mapping[str, Any], results: Mapping[str, Any]) -> None:
    """Send a run's settings and final metrics to TensorBoard's HParams tab, into the event file of its curves.

    Args:
        logger: The run's.
        settings: Flat, with dotted keys.
        results: What `results.json` holds.
    """
    metrics = {f"final/{name}": results[name] for name in FINAL}
    metrics["final/seconds_per_epoch"] = results["seconds_per_epoch"]["train"]
    logger.log_hyperparams(
        {key: "null" if value is None else value for key, value in settings.items()},
        {name: value for name, value in metrics.items() if value is not None},
        step=results["epochs"],
    )


def now(device: torch.device) -> float:
    """Return seconds on a steady clock, once a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def memory_megabytes(device: torch.device) -> float:
    """Return the most memory taken so far in 10**6 bytes: a GPU's by PyTorch, else the process's own."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
