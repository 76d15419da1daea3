"""Callbacks: one row for each epoch, in metrics.csv and TensorBoard, and the progress on the terminal."""

from __future__ import annotations

import json
import logging
import math
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from rich.progress import MofNCompleteColumn, Progress, TextColumn
from torch.nn import functional as F

from brain_tumor_tl.console import console, log
from brain_tumor_tl.files import write_csv
from brain_tumor_tl.reporting.plots import confusion_figure, pixels
from brain_tumor_tl.run.checkpoints import epochs_in
from brain_tumor_tl.run.events import Events, epoch_values, picture

MOST_PICTURES = 20  # of the confusion matrix over the epochs; TensorBoard shows ten of them by default
DRAWING_SHARE = 0.02  # of the time, at most, for pictures during the training; the others are drawn at its end
LINE_SECONDS = 5  # between two lines where there is no progress bar
SAMPLE_SECONDS = 0.5  # between two readings of the running loss; each makes a GPU wait


class EpochRecorder(L.Callback):
    """Keeps loss, metrics, learning rate, time, speed and memory of each epoch, also when a run is resumed.

    The module must have `summarize(stage)`, numbers by name, and `confusion`, a matrix by stage.

    Args:
        folder: The run's folder.
        monitored: The split evaluated after each epoch: "val" or "test".
        classes: Name of each class.
        confusion_every: Draw the confusion matrix after this many epochs each; 0 for never.
        note: Added to the title of every figure, such as that the images are synthetic.
    """

    def __init__(self, folder: Path, monitored: str, classes: list[str], confusion_every: int, note: str = "") -> None:
        self.folder, self.monitored, self.note = folder, monitored, note
        self.classes, self.confusion_every = classes, confusion_every
        self.events = Events(folder)
        self.rows: list[dict[str, Any]] = []
        self.seconds_before = 0.0  # that the run took before it was interrupted
        self._began = self._pictured = time.perf_counter()
        self._started = self._trained = self._validated = self._rate = 0.0
        self._undrawn: list[tuple[int, list[list[int]]]] = []  # epochs and confusion matrices
        self._drawn: Any = None  # split, epoch and matrix of the newest picture
        self._drawing = 0.0  # seconds that a picture takes

    def state_dict(self) -> dict[str, Any]:
        """Return the rows, for the checkpoint; as one text, since thousands of small objects are slow to pickle."""
        seconds = self.seconds_before + time.perf_counter() - self._began
        return {"rows": json.dumps(self.rows), "seconds": seconds, "undrawn": json.dumps(self._undrawn)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of a checkpoint."""
        self.rows, self.seconds_before = json.loads(state_dict["rows"]), state_dict["seconds"]
        self._undrawn = json.loads(state_dict.get("undrawn", "[]"))  # which older checkpoints lack

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the training clock, and note the learning rate before a scheduler changes it."""
        self._started = self._trained = self._validated = now(pl_module.device)
        groups = trainer.optimizers[0].param_groups  # none for a head that is fitted
        self._rate = float(groups[0]["lr"]) if groups else 0.0

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the training clock."""
        self._trained = self._validated = now(pl_module.device)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the evaluation clock."""
        self._validated = now(pl_module.device)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's row.

        Raises:
            ValueError: The loss is not finite; nothing is written then.
        """
        row = self._row(trainer, pl_module)
        losses = [value for name, value in row.items() if name.endswith("/loss")]
        if not all(map(math.isfinite, losses)) or not has_finite_weights(pl_module):
            raise self._not_finite(trainer, pl_module, row)
        self.rows.append(row)
        if not trainer.is_global_zero:
            return
        write_csv(self.folder / "metrics.csv", self.rows)
        for split, values in epoch_values(row, self.monitored).items():
            self.events.add(row["epoch"], values, split)
        if f"{self.monitored}/accuracy" in row and self._is_pictured(trainer, row["epoch"]):
            matrices: Any = pl_module.confusion
            self._undrawn.append((row["epoch"], matrices[self.monitored]))
        if self._undrawn and self._drawing <= DRAWING_SHARE * (time.perf_counter() - self._pictured):
            self.draw_confusion(*self._undrawn.pop(0))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the confusion matrices for which there was no time before."""
        while trainer.is_global_zero and self._undrawn:
            self.draw_confusion(*self._undrawn.pop(0))

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Write what TensorBoard is to have of the epochs so far."""
        self.events.close()

    def draw_confusion(self, epoch: int, matrix: list[list[int]], split: str | None = None) -> None:
        """Draw a confusion matrix of an epoch for TensorBoard: counts, and as colour the share of each true class.

        Args:
            epoch: Counted from 1.
            matrix: Row = true class, column = predicted class.
            split: The split; None for the monitored one.
        """
        started, split = time.perf_counter(), split or self.monitored
        if self._drawn == (split, epoch, matrix):
            return
        self._drawn = split, epoch, matrix
        title = f"{split} split, epoch {epoch}" + (f", {self.note}" if self.note else "")
        drawn = picture(f"confusion_matrix_{split}", pixels(confusion_figure(matrix, self.classes, title)))
        self.events.add(epoch, [drawn])
        self._pictured = time.perf_counter()
        self._drawing = self._pictured - started

    def _is_pictured(self, trainer: L.Trainer, epoch: int) -> bool:
        """Tell whether there is to be a picture of an epoch: every n-th, and of thousands of epochs fewer."""
        every = self.confusion_every
        if not every:
            return False
        return epoch % (every * math.ceil((trainer.max_epochs or 1) / (every * MOST_PICTURES))) == 0

    def _not_finite(self, trainer: L.Trainer, module: Any, row: Mapping[str, Any]) -> ValueError:
        """Return the error of an epoch whose loss is not finite: where it began, what is saved and the way out."""
        step = first_step_not_finite(trainer, module)
        where = f"epoch {row['epoch']}" + (f", step {step}" if step else "")
        saved = epochs_in(self.folder / "checkpoints" / "last.ckpt")
        kept = f"checkpoints/last.ckpt is that of epoch {saved}" if saved else "No checkpoint was written before"
        half = "" if trainer.precision == "32-true" else ", or trainer.precision=32-true"
        return ValueError(
            f"The loss is not a finite number since {where}, at a learning rate of {row['learning_rate']:g}. {kept}. "
            f"Train anew with a lower optimizer.lr or trainer.gradient_clip_val=1{half}."
        )

    def _row(self, trainer: L.Trainer, module: Any) -> dict[str, Any]:
        """Return the epoch's row; without columns of the monitored split if the epoch did not evaluate it."""
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


class ProgressBar(L.Callback):
    """Shows epoch, images per second, loss and accuracy: one bar for the run, or a line an epoch without a terminal.

    Lightning's own bars begin anew in each epoch, which for a linear head takes less time than drawing them, and have
    a console of their own, so that messages would break them.

    Args:
        recorder: Comes before this callback in the Trainer's list, and has the epoch's row.
    """

    def __init__(self, recorder: EpochRecorder) -> None:
        self.recorder = recorder
        self.bar: Progress | None = None
        self._task: Any = None
        self._images = 0  # of the epoch so far, on all devices
        self._began = self._sampled = 0.0
        self._written = -math.inf  # when an epoch's line was last written

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar."""
        if not console.is_terminal:
            return
        columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TextColumn("{task.fields[state]}"))
        self.bar = Progress(*columns, console=console, refresh_per_second=5)
        batches = int(trainer.num_training_batches)
        done = trainer.current_epoch * batches
        self._task = self.bar.add_task("Epoch", total=batches * (trainer.max_epochs or 1), completed=done, state="")
        self.bar.start()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the epoch's number."""
        self._began, self._images = time.perf_counter(), 0
        if self.bar:
            self.bar.update(self._task, description=f"Epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, and read the loss now and then."""
        if not self.bar:
            return
        self.bar.advance(self._task)
        self._images += len(batch[0]) * trainer.world_size
        if time.perf_counter() - self._sampled > SAMPLE_SECONDS:
            self._sampled = time.perf_counter()
            speed, key = self._images / (self._sampled - self._began), f"{self.recorder.monitored}/accuracy"
            known = [f"  {self.recorder.monitored} accuracy {row[key]:.2%}" for row in self.recorder.rows if key in row]
            state = f"{speed:,.0f} images/s  loss {float(outputs['loss']):.3f}" + "".join(known[-1:])
            self.bar.update(self._task, state=state)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the epoch's line if there is no bar; of many in a short time only some, the others to the log file."""
        if self.bar:
            return
        row = self.recorder.rows[-1]
        splits = [split for split in ("train", self.recorder.monitored) if f"{split}/loss" in row]
        figures = [f"{name} loss {row[f'{name}/loss']:.3f} accuracy {row[f'{name}/accuracy']:.2%}" for name in splits]
        speed = f"{row['images_per_second/train']:,.0f} images/s"
        due = row["epoch"] == trainer.max_epochs or time.monotonic() - self._written > LINE_SECONDS
        self._written = time.monotonic() if due else self._written
        line = "  ".join([f"Epoch {row['epoch']}/{trainer.max_epochs}", speed, *figures])
        log.log(logging.INFO if due else logging.DEBUG, line)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        if self.bar:
            self.bar.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error is printed below it."""
        self.on_train_end(trainer, pl_module)


def has_finite_weights(module: L.LightningModule) -> bool:
    """Tell whether all weights that learn are finite; a step can spoil them after the epoch's last loss."""
    sums = [parameter.detach().sum() for parameter in module.parameters() if parameter.requires_grad]
    return bool(torch.stack(sums).isfinite().all()) if sums else True


def first_step_not_finite(trainer: L.Trainer, module: Any) -> int | None:
    """Return the first step of the epoch, from 1, whose loss is not finite; None if it is not known.

    Args:
        trainer: In one process, so that the outputs are in the order of the steps.
        module: Has `outputs(stage)`.
    """
    if trainer.world_size > 1:
        return None
    logits, labels, _ = module.outputs("train")
    spoilt = (~F.cross_entropy(logits, labels, reduction="none").isfinite()).nonzero()
    batches: Any = trainer.train_dataloader
    return int(spoilt[0]) // int(batches.batch_size) + 1 if len(spoilt) else None


def now(device: torch.device) -> float:
    """Return seconds on a steady clock, once a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def memory_megabytes(device: torch.device) -> float:
    """Return the peak memory so far in 10**6 bytes: a GPU's by PyTorch, else the process's own."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
