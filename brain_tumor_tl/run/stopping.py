"""Stopping: the end of a run whose validation accuracy no longer improves."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from brain_tumor_tl.console import log


class Patience(EarlyStopping):
    """Stops a run after some evaluations without a better accuracy; resumed, it stops where it would have.

    Args:
        monitor: Name of a logged metric; more is better.
        patience: Number of evaluations.
    """

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(monitor, patience=patience, mode="max", check_on_train_epoch_end=False)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End a run at once that was interrupted between its decision to stop and its results."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell that the run stopped, and why."""
        if self.reason:
            log.info(f"Stopped   after epoch {trainer.current_epoch} of {trainer.max_epochs}: {self.reason}")

    @property
    def reason(self) -> str | None:
        """Why the run stopped; None if it didn't."""
        if self.wait_count < self.patience:
            return None
        return f"no better {self.monitor} in {self.wait_count} evaluations"


def why_stopped(trainer: Any) -> str | None:
    """Return why a run ended before its last epoch, if its patience was at an end."""
    reasons = [callback.reason for callback in trainer.callbacks if isinstance(callback, Patience)]
    return next(iter(reasons), None)
