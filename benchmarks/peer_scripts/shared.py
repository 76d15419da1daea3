"""Shared: options, network and log of the peer scripts; everything else is each script's own."""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn
from torchvision import models


def options(description: str | None, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a script's command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/CLASS/ and test/CLASS/")
    parser.add_argument("--out", type=Path, required=True, help="folder for metrics.csv and other output")
    parser.add_argument("--model", default="mobilenet_v2", help="torchvision network")
    parser.add_argument("--image-size", type=int, default=224, help="height and width of an image in pixels")
    parser.add_argument("--batch-size", type=int, default=32, help="images in an optimizer step")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the training split")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="worker processes of a DataLoader")
    parser.add_argument("--frozen", action="store_true", help="train only the last layer")
    parser.add_argument("--bf16", action="store_true", help="compute in bf16 autocast with channels last")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Epoch:
    """One epoch: its number from 1, the seconds of training and testing, and the test accuracy."""

    epoch: int
    train_seconds: float
    test_seconds: float
    accuracy: float


def write(folder: Path, epoch: Epoch) -> None:
    """Append an epoch to `metrics.csv`, with the column names of the package's run folders."""
    folder.mkdir(parents=True, exist_ok=True)
    values = dict(zip(("epoch", "seconds/train", "seconds/test", "test/accuracy"), asdict(epoch).values(), strict=True))
    with (folder / "metrics.csv").open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, values, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(values)


def network(name: str, classes: int, frozen: bool) -> nn.Module:
    """Return a torchvision network with random weights; if frozen, only its last layer is trainable."""
    options = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    built: nn.Module = models.get_model(name, weights=None, num_classes=classes, **options)
    if frozen:
        built.requires_grad_(False)
        [*_, last] = (module for module in built.modules() if isinstance(module, nn.Linear))
        last.requires_grad_(True)
    return built
