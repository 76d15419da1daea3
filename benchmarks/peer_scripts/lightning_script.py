"""Fine-tune as Lightning's tutorials do: ImageFolder, DataLoader with workers, a module and a Trainer.

    python benchmarks/peer_scripts/lightning_script.py --data FOLDER --out OUT --epochs 3

The Trainer keeps its defaults: a logger, a progress bar, a checkpoint per epoch.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.peer_scripts.shared import Epoch, network, options, write


class Classifier(L.LightningModule):
    """A network with its loss and accuracy."""

    def __init__(self, model: nn.Module, classes: int) -> None:
        super().__init__()
        self.model = model
        self.accuracy = MulticlassAccuracy(classes, average="micro")

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return and log the loss."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self.model(images), labels)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the accuracy."""
        images, labels = batch
        self.accuracy(self.model(images), labels)
        self.log("test/accuracy", self.accuracy, on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over the trainable parameters."""
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=0.001)


class Clock(L.Callback):
    """Writes one row per epoch."""

    def __init__(self, out: Path) -> None:
        self.out, self._started, self._trained, self._tested = out, 0.0, 0.0, 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the end of training."""
        self._trained = time.perf_counter()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the row."""
        accuracy = float(trainer.callback_metrics["test/accuracy"])
        seconds = (self._trained - self._started, time.perf_counter() - self._trained)
        write(self.out, Epoch(trainer.current_epoch + 1, *seconds, accuracy))


def load(folder: Path, args: Any, training: bool) -> DataLoader[Any]:
    """Return the loader of a split; its workers persist, as Lightning's warning advises."""
    size = (args.image_size, args.image_size)
    dataset = ImageFolder(folder, transforms.Compose([transforms.Resize(size), transforms.ToTensor()]))
    stay, pinned = args.workers > 0, torch.cuda.is_available()
    return DataLoader(
        dataset, args.batch_size, shuffle=training, num_workers=args.workers, persistent_workers=stay, pin_memory=pinned
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write one row per epoch."""
    args = options(__doc__, arguments)
    train, test = load(args.data / "train", args, True), load(args.data / "test", args, False)
    classes = len(train.dataset.classes)  # type: ignore[attr-defined]  # ImageFolder has them
    model = network(args.model, classes, args.frozen)
    if args.bf16:
        model = model.to(memory_format=torch.channels_last)
    trainer = L.Trainer(
        max_epochs=args.epochs,
        precision="bf16-mixed" if args.bf16 else "32-true",
        num_sanity_val_steps=0,
        default_root_dir=args.out,
        callbacks=[Clock(args.out)],
    )
    trainer.fit(Classifier(model, classes), train, test)
    return 0


if __name__ == "__main__":
    sys.exit(main())
