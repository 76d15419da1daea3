"""Fine-tune as torchvision's classification reference does, in its plainest form.

    python benchmarks/peer_scripts/torchvision_loop.py --data FOLDER --out OUT --epochs 3

It uses ImageFolder, a DataLoader with workers, a loop for training and one for evaluation, and reads the loss in each
step, as MetricLogger does. No augmentation and Adam at 0.001, as in the study's recipe.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.peer_scripts.shared import Epoch, network, options, write

Loader = DataLoader[Any]


def load(folder: Path, args: Any, training: bool) -> Loader:
    """Return the loader of a split."""
    size = (args.image_size, args.image_size)
    dataset = ImageFolder(folder, transforms.Compose([transforms.Resize(size), transforms.ToTensor()]))
    pinned = torch.cuda.is_available()
    return DataLoader(dataset, args.batch_size, shuffle=training, num_workers=args.workers, pin_memory=pinned)


def train_one_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, loader: Loader, device: torch.device, bf16: bool
) -> float:
    """Train for one epoch; return the mean loss."""
    model.train()
    total = 0.0
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
    return total / len(loader)


@torch.inference_mode()
def evaluate(model: nn.Module, loader: Loader, device: torch.device, bf16: bool) -> float:
    """Return the accuracy."""
    model.eval()
    right = count = 0
    for images, labels in loader:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            found = model(images.to(device)).argmax(1)
        right, count = right + int((found == labels.to(device)).sum()), count + len(labels)
    return right / count


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and write one row per epoch."""
    args = options(__doc__, arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, test = load(args.data / "train", args, True), load(args.data / "test", args, False)
    model = network(args.model, len(train.dataset.classes), args.frozen).to(device)  # type: ignore[attr-defined]
    if args.bf16:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.001)
    for epoch in range(args.epochs):
        started = time.perf_counter()
        train_one_epoch(model, optimizer, train, device, args.bf16)
        trained = time.perf_counter()
        accuracy = evaluate(model, test, device, args.bf16)
        write(args.out, Epoch(epoch + 1, trained - started, time.perf_counter() - trained, accuracy))
    return 0


if __name__ == "__main__":
    sys.exit(main())
