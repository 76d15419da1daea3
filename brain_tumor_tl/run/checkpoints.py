"""Checkpoints: the weights that a run keeps, and how a run with a frozen backbone keeps them lean."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from brain_tumor_tl.files import replacing

SHARE = 0.1  # of a run's time that may go into writing last.ckpt


class Checkpoints(Checkpoint):
    """Keeps `last.ckpt`, from which a cut run goes on, and `best.ckpt`, the weights of the best epoch.

    `last.ckpt` is written after an epoch unless that would take more than a tenth of the time, and at the end.
    While a run with a frozen backbone goes on, both leave the backbone out, which can't have changed; `complete`
    adds it.

    Args:
        folder: Where they are kept.
        monitor: The logged metric of which more is better.
        frozen: Whether the backbone is frozen.
    """

    def __init__(self, folder: Path, monitor: str, frozen: bool) -> None:
        self.folder, self.monitor, self.frozen = folder, monitor, frozen
        self.best = -math.inf
        self._saved_epoch = -1
        self._cost = 0.0
        self._ended = time.perf_counter()

    @property
    def last_path(self) -> Path:
        """Where the last epoch's checkpoint is."""
        return self.folder / "last.ckpt"

    @property
    def best_path(self) -> Path:
        """Where the best epoch's checkpoint is."""
        return self.folder / "best.ckpt"

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far, for the checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best value of a checkpoint."""
        self.best = state_dict["best"]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Leave a frozen backbone out while the run goes on."""
        if self.frozen and trainer.training:
            state = checkpoint["state_dict"]
            checkpoint["state_dict"] = {key: value for key, value in state.items() if not of_backbone(key)}

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the best weights where this epoch is the best, and the last ones where it is time."""
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and float(value) > self.best:
            self.best = float(value)
            # Lightning asks no callback what to leave out of weights alone; a head's optimizer state is small
            save(trainer, self.best_path, weights_only=not self.frozen)
        due = time.perf_counter() - self._ended >= self._cost / SHARE
        final = trainer.current_epoch + 1 == trainer.max_epochs
        if trainer.strategy.broadcast(due or final):
            self._save_last(trainer)
            self._saved_epoch = trainer.current_epoch

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the last weights where the run stops before its last epoch and this one has not written them."""
        if self._saved_epoch < trainer.current_epoch - 1:
            self._save_last(trainer)

    def _save_last(self, trainer: L.Trainer) -> None:
        started = time.perf_counter()
        save(trainer, self.last_path)
        self._ended = time.perf_counter()
        self._cost = self._ended - started


def save(trainer: L.Trainer, path: Path, weights_only: bool = False) -> None:
    """Write a checkpoint, whole or not at all."""
    with replacing(path, exclusive=True) if trainer.is_global_zero else nullcontext(path) as target:
        trainer.save_checkpoint(target, weights_only=weights_only)


def of_backbone(key: str) -> bool:
    """Tell whether a key of a state dict belongs to the backbone."""
    return key.startswith("backbone.")


def complete(path: Path, state: Mapping[str, Tensor]) -> None:
    """Add a frozen backbone to a checkpoint that leaves it out.

    Args:
        path: The checkpoint; an absent one stays absent.
        state: The whole network's state dict.
    """
    if not path.is_file():
        return
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if any(of_backbone(key) for key in checkpoint["state_dict"]):
        return
    checkpoint["state_dict"] = {**state, **checkpoint["state_dict"]}
    with replacing(path, exclusive=True) as temporary:
        torch.save(checkpoint, temporary)
