"""Settings of a run, its log, and a network of one weight with a Trainer for the callbacks."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import lightning as L
import pytest
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from brain_tumor_tl.cli.help import composed
from brain_tumor_tl.console import log, run_log

Fit = Callable[..., L.Trainer]


@pytest.fixture(scope="session")
def composed_settings() -> dict[str, Any]:
    config = composed(["method=frozen", "data=phantom", "trainer=cpu"])
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))


@pytest.fixture
def settings(composed_settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a frozen run on a processor, which a test may change."""
    return copy.deepcopy(composed_settings)


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What goes to the run's log."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    with run_log(None, quiet=True):
        log.addHandler(handler)
        yield found
    log.removeHandler(handler)


class TinyModule(L.LightningModule):
    """Learns one weight from six images in three batches; its metrics are made up.

    The accuracy of epoch `e`, counted from 1, is 0.5 + e / 100 on the training split and 0.25 + e / 100 on the test
    split, the loss is its inverse, and the confusion matrix is [[2, 1], [0, 3]] once a split was evaluated.

    Args:
        scheduler: Halve the learning rate of 0.1 after each epoch.
        fails_in: The epoch, counted from 1, whose second batch raises.
    """

    def __init__(self, scheduler: bool, fails_in: int) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.scheduler, self.fails_in = scheduler, fails_in
        self.confusion: dict[str, list[list[int]]] = {}

    def summarize(self, stage: str) -> dict[str, float]:
        """Return the stage's made-up metrics."""
        accuracy = {"train": 0.5, "test": 0.25}[stage] + (self.current_epoch + 1) / 100
        return {"loss": 1 / accuracy, "accuracy": accuracy}

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Return a loss, or raise where the test wants it."""
        if self.fails_in == self.current_epoch + 1 and batch_idx == 1:
            raise RuntimeError("a bad batch")
        self.confusion["train"] = [[2, 1], [0, 3]]
        loss: Tensor = self.layer(batch[0]).square().mean()
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Evaluate the test split; its matrix stays from then on, as that of the real module does."""
        self.confusion["test"] = [[2, 1], [0, 3]]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return plain gradient descent."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if not self.scheduler:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)]


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    """Train a `TinyModule` on the processor: `fit(*callbacks, epochs=3, resume=PATH, scheduler=True, fails_in=2)`.

    Further keywords go to the Trainer; the Trainer is returned.
    """

    def fit(
        *callbacks: L.Callback,
        epochs: int,
        resume: Path | None = None,
        scheduler: bool = False,
        fails_in: int = 0,
        **flags: Any,
    ) -> L.Trainer:
        settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False, **flags}
        trainer = L.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=epochs,
            default_root_dir=tmp_path,
            callbacks=list(callbacks),
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            **settings,
        )
        loader = DataLoader(TensorDataset(torch.ones(6, 1)), batch_size=2)
        trainer.fit(TinyModule(scheduler, fails_in), loader, loader, ckpt_path=resume)
        return trainer

    return fit
