"""Progress: the bar of a training run, or a line an epoch where there is no terminal."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor

from brain_tumor_tl.console import console, log

SAMPLE_SECONDS = 0.5  # how often the running loss is read; each reading makes a GPU wait


class ProgressBar(L.Callback):
    """Shows epoch, images per second, loss and accuracy.

    Args:
        monitored: The part that is looked at after each epoch.
    """

    def __init__(self, monitored: str) -> None:
        self.monitored = monitored
        self._images = 0  # of the epoch so far, by all devices
        self._bar: Progress | None = None
        self._task: Any = None
        self._sampled = self._epoch_started = self._trained = 0.0
        self._accuracy = ""
        self._looked = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar."""
        if not console.is_terminal:
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        batches = int(trainer.num_training_batches)
        self._bar = Progress(*columns, console=console, refresh_per_second=5)
        done = trainer.current_epoch * batches
        self._task = self._bar.add_task("Epoch", total=batches * (trainer.max_epochs or 1), completed=done, state="")
        self._bar.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the epoch's number."""
        self._epoch_started, self._looked, self._images = time.perf_counter(), False, 0
        if self._bar:
            self._bar.update(self._task, description=f"Epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, and now and then read the loss."""
        if not self._bar:
            return
        self._bar.advance(self._task)
        self._images += len(batch[0]) * trainer.world_size
        time_now = time.perf_counter()
        if time_now - self._sampled > SAMPLE_SECONDS:
            self._sampled = time_now
            speed = self._images / (time_now - self._epoch_started)
            loss = outputs["loss"] if isinstance(outputs, dict) else outputs
            text = f"{loss.item():.3f}" if isinstance(loss, Tensor) else "-"
            self._bar.update(self._task, state=f"{speed:,.0f} images/s  loss {text}{self._accuracy}")

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note when the training part ended."""
        self._trained = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note that this epoch looked at the monitored part."""
        self._looked = True

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Show the epoch's accuracy; without a terminal, write its line."""
        train, epoch = pl_module.summarize("train"), trainer.current_epoch + 1
        text = f"train loss {train['loss']:.3f} accuracy {train['accuracy']:.2%}"
        if self._looked:
            monitored = pl_module.summarize(self.monitored)
            self._accuracy = f"  {self.monitored} accuracy {monitored['accuracy']:.2%}"
            text += f"  {self.monitored} loss {monitored['loss']:.3f} accuracy {monitored['accuracy']:.2%}"
        if not self._bar:
            ended = self._trained if self._looked else time.perf_counter()
            speed = sum(map(sum, pl_module.confusion["train"])) / max(ended - self._epoch_started, 1e-9)
            log.info(f"Epoch {epoch}/{trainer.max_epochs}  {speed:,.0f} images/s  {text}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error stands below it."""
        self._close()

    def _close(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
