"""Checkpoints: the last and the best weights of a run, without a frozen backbone while the run continues.

Lightning's ModelCheckpoint writes after every epoch whatever it costs, and writes a frozen backbone each time.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from brain_tumor_tl.files import replacing
from brain_tumor_tl.model.backbone import tensors_digest
from brain_tumor_tl.model.weights import below

SHARE = 0.1  # of a run's time that writing last.ckpt may take
BACKBONE = "backbone."  # prefix of its keys in a state dict


class Checkpoints(Checkpoint):
    """Writes `last.ckpt`, from which an interrupted run resumes, and `best.ckpt`, the weights of the best epoch.

    `last.ckpt` is written after an epoch unless that would take more than a tenth of the time, and at the end. During
    training both leave out a frozen backbone, which doesn't change; `complete` adds it.

    Args:
        folder: Where they are written.
        monitor: Name of a logged metric; more is better.
        frozen: The frozen parameters and buffers, by their names in the backbone's state dict.
    """

    def __init__(self, folder: Path, monitor: str, frozen: Collection[str]) -> None:
        self.last_path, self.best_path = folder / "last.ckpt", folder / "best.ckpt"
        self.monitor, self.frozen = monitor, {BACKBONE + key for key in frozen}
        self.best = -math.inf
        self._best_head: str | None = None  # digest of that in best.ckpt
        self._whole, self._stopped = True, False
        self._saved_epoch = -1
        self._cost = 0.0
        self._ended = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far and its head's digest, whether the last epoch is whole, and the time over."""
        saved = {"best": self.best, "whole": self._whole, "stopped": self._stopped}
        return saved if self._best_head is None else saved | {"best_head": self._best_head}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best value of a checkpoint."""
        self.best, self._best_head = state_dict["best"], state_dict.get("best_head")

    def epochs_saved(self, network: Mapping[str, nn.Module], needs_best: bool, max_steps: int = -1) -> int:
        """Return after how many epochs a run resumes from its `last.ckpt`.

        Args:
            network: The run's backbone and head.
            needs_best: Whether the weights of the best epoch will be tested.
            max_steps: The steps that the run is to take; -1 for no limit.

        Raises:
            ValueError: A file is damaged, absent or not of this run; or the run would go on within an epoch, so that
                it would not be the same as a run that was so long from the start.
        """
        last = self._read(self.last_path, "callbacks", "loops", "optimizer_states")
        if (state := last["callbacks"].get(self.state_key)) is None:
            raise self._cannot_resume(self.last_path, "it is no checkpoint of a run")
        if not state.get("whole", True) and not state.get("stopped") and not 0 < max_steps <= last["global_step"]:
            raise ValueError(
                f"The run in {self.last_path.parents[1]} ended within an epoch, by trainer.max_steps or max_time, and "
                "can't be resumed from there. Give the longer run a name of its own, name=NAME, or train anew in its "
                "place with force=true."
            )
        expected = {f"{part}.{key}": v for part, module in network.items() for key, v in module.state_dict().items()}
        found = {key: value for key, value in last["state_dict"].items() if key != "class_weights"}
        if any(key not in expected or value.shape != expected[key].shape for key, value in found.items()):
            raise self._cannot_resume(self.last_path, "it holds another network")
        if needs_best and state["best"] > -math.inf and not self.best_path.is_file():
            raise self._cannot_resume(self.best_path, "it is gone, and the weights of the best epoch so far with it")
        try:
            epochs = rows_in(last)
        except (KeyError, TypeError, ValueError) as error:
            raise self._cannot_resume(self.last_path, "the rows of its epochs are damaged") from error
        if self.best_path.is_file():
            self._check_best(state.get("best_head"), epochs)
        return epochs

    def _check_best(self, head: str | None, epochs: int) -> None:
        """Raise a ValueError if `best.ckpt` is damaged, or is not the one that the run wrote.

        Args:
            head: The digest of its head; None in a checkpoint of an earlier version.
            epochs: How many epochs `last.ckpt` has; a run killed after a later one wrote a better `best.ckpt`.
        """
        best = self._read(self.best_path)
        if head is not None and best["epoch"] < epochs and tensors_digest(below("head.", best["state_dict"])) != head:
            raise self._cannot_resume(self.best_path, "it is not the one that the run wrote")

    def _read(self, path: Path, *parts: str) -> dict[str, Any]:
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # torch raises whatever it comes upon
            raise self._cannot_resume(path, "it is damaged" if path.stat().st_size else "it is empty") from error
        if not isinstance(content, dict) or not content.keys() >= {"state_dict", "epoch", "global_step", *parts}:
            raise self._cannot_resume(path, "it is no checkpoint of a run")
        tables = [content[name] for name in ("state_dict", "callbacks", "loops") if name in content]
        tensors = isinstance(tables[0], Mapping) and all(isinstance(each, Tensor) for each in tables[0].values())
        if not tensors or not all(isinstance(each, Mapping) for each in tables) or not content.get("loops", True):
            raise self._cannot_resume(path, "it is no checkpoint of a run")
        return content

    def _cannot_resume(self, path: Path, why: str) -> ValueError:
        others = [name for name in ("last.ckpt", "best.ckpt") if (path.parent / name).is_file() and name != path.name]
        return ValueError(
            f"The run can't be resumed from {path}: {why}. {' and '.join(['metrics.csv', *others])} of the run are as "
            "they were. Put the file back if you have a copy, or train anew in its place with force=true."
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note whether this is the epoch's last batch, and whether Lightning's timer stops the run."""
        self._whole, self._stopped = batch_idx + 1 >= trainer.num_training_batches, trainer.should_stop

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Leave out what is frozen during training."""
        if self.frozen and trainer.training:
            state = checkpoint["state_dict"]
            checkpoint["state_dict"] = {key: value for key, value in state.items() if key not in self.frozen}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the best weights if this epoch is the best, and the last ones if it is time."""
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and float(value) > self.best:
            self.best = float(value)
            # With weights_only Lightning doesn't call `on_save_checkpoint`; a head's optimizer state is small.
            save(trainer, self.best_path, weights_only=not self.frozen)
            if trainer.is_global_zero:  # of what was written, which may be averaged weights
                self._best_head = tensors_digest(below("head.", self._read(self.best_path)["state_dict"]))
        due = time.perf_counter() - self._ended >= self._cost / SHARE
        final = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.strategy.broadcast(due or final):
            self._save_last(trainer, trainer.current_epoch)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the last weights if the run stops before its last epoch and they aren't written yet."""
        if self._saved_epoch < trainer.current_epoch - 1:
            self._save_last(trainer, trainer.current_epoch - 1)

    def _save_last(self, trainer: L.Trainer, epoch: int) -> None:
        started = time.perf_counter()
        save(trainer, self.last_path)
        self._saved_epoch, self._ended = epoch, time.perf_counter()
        self._cost = self._ended - started


def rows_in(checkpoint: Mapping[str, Any]) -> int:
    """Return how many epochs a checkpoint has the rows of."""
    recorder = checkpoint["callbacks"].get("EpochRecorder")
    return len(json.loads(recorder["rows"])) if recorder else 0


def epochs_in(path: Path) -> int:
    """Return how many epochs of a run are in its `last.ckpt`, 0 if it has none."""
    return rows_in(torch.load(path, map_location="cpu", weights_only=True, mmap=True)) if path.is_file() else 0


class PlainFiles(TorchCheckpointIO):
    """Writes checkpoints where they belong, so that a killed run leaves nothing elsewhere.

    Lightning's own way makes a copy in memory, writes it to the system's temporary folder, which may be small, and
    moves it from there to another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint to a file of Python's, which tells why it can't be written; torch's own doesn't."""
        Path(path).parent.mkdir(exist_ok=True)  # not the run, if that was removed
        with Path(path).open("wb") as file:
            torch.save(checkpoint, file)


def save(trainer: L.Trainer, path: Path, weights_only: bool = False) -> None:
    """Write a checkpoint atomically."""
    with replacing(path, exclusive=True) if trainer.is_global_zero else nullcontext(path) as target:
        trainer.save_checkpoint(target, weights_only=weights_only)


def complete(path: Path, state: Mapping[str, Tensor]) -> None:
    """Add what is frozen to a checkpoint without it.

    Args:
        path: The checkpoint; an absent one stays absent.
        state: The whole network's state dict.
    """
    if not path.is_file():
        return
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if state.keys() <= checkpoint["state_dict"].keys():
        return
    checkpoint["state_dict"] = {**state, **checkpoint["state_dict"]}
    with replacing(path, exclusive=True) as temporary:
        PlainFiles().save_checkpoint(checkpoint, temporary)
