"""Fine-tune as timm's train.py does, on timm's public API.

    python benchmarks/peer_scripts/timm_loop.py --data FOLDER --out OUT --epochs 3

It uses timm's data set, loader, transform, optimizer factory, meters and accuracy, with no augmentation and Adam at
0.001, as in the study's recipe.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import ImageDataset, create_loader
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter, accuracy
from torch import nn

from benchmarks.peer_scripts.shared import Epoch, options, write

NAMES = {"mobilenet_v2": "mobilenetv2_100"}  # timm's names for torchvision's networks, if they differ


def load(folder: Path, args: Any, training: bool, device: torch.device) -> Any:
    """Return the loader of a split; images are resized to a square and scaled to 0..1."""
    return create_loader(
        ImageDataset(str(folder)),
        input_size=(3, args.image_size, args.image_size),
        batch_size=args.batch_size,
        is_training=training,
        no_aug=True,
        interpolation="bilinear",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        crop_pct=1.0,
        crop_mode="squash",
        num_workers=args.workers,
        use_prefetcher=device.type == "cuda",
        device=device,
    )


def create_model(name: str, classes: int, frozen: bool) -> nn.Module:
    """Return timm's network of this name with random weights.

    Raises:
        SystemExit: timm has no such network.
    """
    name = NAMES.get(name, name)
    if not timm.is_model(name):
        raise SystemExit(f"timm has no network {name}; compare with another --model, such as mobilenet_v2.")
    model: Any = timm.create_model(name, num_classes=classes)
    if frozen:
        model.requires_grad_(False)
        model.get_classifier().requires_grad_(True)
    assert isinstance(model, nn.Module)
    return model


def train_one_epoch(model: nn.Module, optimizer: Any, loader: Any, device: torch.device, bf16: bool) -> float:
    """Train for one epoch; return the mean loss."""
    model.train()
    losses = AverageMeter()
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.update(loss.item(), len(labels))
    return float(losses.avg)


@torch.inference_mode()
def validate(model: nn.Module, loader: Any, device: torch.device, bf16: bool) -> float:
    """Return the accuracy."""
    model.eval()
    top1 = AverageMeter()
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(images)
        top1.update(accuracy(logits, labels, topk=(1,))[0].item(), len(labels))
    return float(top1.avg) / 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write one row per epoch."""
    args = options(__doc__, arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, test = load(args.data / "train", args, True, device), load(args.data / "test", args, False, device)
    classes = len([path for path in (args.data / "train").iterdir() if path.is_dir()])
    model = create_model(args.model, classes, args.frozen).to(device)
    if args.bf16:
        model = model.to(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(model, opt="adam", lr=0.001, weight_decay=0.0)
    for epoch in range(args.epochs):
        started = time.perf_counter()
        train_one_epoch(model, optimizer, train, device, args.bf16)
        trained = time.perf_counter()
        found = validate(model, test, device, args.bf16)
        write(args.out, Epoch(epoch + 1, trained - started, time.perf_counter() - trained, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
