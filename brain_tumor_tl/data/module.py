"""TumorData: the LightningDataModule. Index, split and decoded images in, normalised batches out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from brain_tumor_tl.cache import CacheEntry
from brain_tumor_tl.data.augment import Augmentation
from brain_tumor_tl.data.batches import Batch, Batches, Shard
from brain_tumor_tl.data.images import load_images
from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.leakage.relations import Relations, find_relations, nearest_neighbour_of_split
from brain_tumor_tl.data.splits.protocol import Protocol, divide, facts, shuffled
from brain_tumor_tl.data.splits.random import Split, part_rows
from brain_tumor_tl.data.table import described

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # of RGB in 0..1; Krizhevsky et al. 2012 as torchvision's weights expect it
IMAGENET_STD = (0.229, 0.224, 0.225)
DEVICE_SHARE = 0.5  # of a GPU's free memory that the images may take; the rest is the network's
BLOCK, BLOCK_FROM_DISK = 128, 8  # batches of a block: where inputs lie ready; where they must be read and copied


class TumorData(L.LightningDataModule):
    """Brain MRI slices of a folder as batches of `(images, labels, positions)`.

    Images come out as float32 `(B, 3, size, size)`, labels and positions as int64 `(B,)`. Everything is gathered from
    one decoded array, which lies on a CUDA device where it fits, else in memory; grey images are widened to three
    channels on the device.

    Args:
        root: Folder of the images, in any layout that `read_index` knows.
        classes: Each class's name followed by further folder names that stand for it, in the order of the labels.
        image_size: Height and width in pixels.
        batch_size: Images in an optimizer step, over all devices together.
        normalize: "unit" scales to 0..1; "imagenet" then takes off ImageNet's mean and divides by its std.
        cache_dir: Where decoded images are kept.
        seed: Seed of the split and of the order of batches.
        protocol: How images are split; without a validation part the test part is monitored during training.
        labels: CSV file whose labels replace those of the folders, None for none.
        patients: CSV file that says whose each image is; None for the `patient` column of `labels` if it has one.
        find_copies: "auto", or whether to look for copies among the images.
        shuffle_labels: Whether to train on permuted labels, as a control that must land at chance.
        augmentation: Random changes of the training images; None for none.
        on_bad_file: "error", or "skip" to leave unreadable files out.
        channels_last: Whether images are laid out with channels last.
    """

    index: Index
    split: Split
    relations: Relations
    images: CacheEntry
    labels: Tensor

    def __init__(
        self,
        root: str | Path,
        classes: Sequence[Sequence[str]],
        *,
        image_size: int,
        batch_size: int,
        normalize: str,
        cache_dir: str | Path,
        seed: int,
        protocol: Protocol | None = None,
        labels: str | Path | None = None,
        patients: str | Path | None = None,
        find_copies: str | bool = "auto",
        shuffle_labels: bool = False,
        augmentation: Augmentation | None = None,
        on_bad_file: str = "error",
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.root, self.classes = Path(root), [list(names) for names in classes]
        self.image_size, self.batch_size = image_size, batch_size
        self.cache_dir, self.seed = Path(cache_dir), seed
        self.protocol, self.shuffle_labels, self.find_copies = protocol or Protocol(), shuffle_labels, find_copies
        self.tables = tuple(None if path is None else Path(path) for path in (labels, patients))
        self.augmentation = augmentation or Augmentation()
        self.on_bad_file, self.channels_last = on_bad_file, channels_last
        self.scale, self.shift = affine(normalize)
        self.in_blocks, self.monitored_batch_size = False, batch_size
        self._inputs: Tensor | None = None
        self._ready = False

    @property
    def monitored(self) -> str:
        """The part that is looked at after each epoch: "val" where there is one, else "test"."""
        return "val" if self.protocol.val_fraction > 0 else "test"

    def setup(self, stage: str | None = None) -> None:
        """Read the index, split it and open the decoded images; once, whatever the stage."""
        if self._ready:
            return
        index = read_index(self.root, self.classes)
        self.images, index = load_images(index, self.image_size, self.cache_dir, self.on_bad_file)
        self.index, patients = described(index, self.classes, *self.tables)
        self.relations = find_relations(
            self.index, self.images, self.cache_dir, patients, self.find_copies, needed=self.protocol.needs_copies
        )
        self.split = divide(self.protocol, self.index, self.relations, self.seed)
        labels = shuffled(self.index.labels, self.split, self.seed) if self.shuffle_labels else self.index.labels
        self.labels = torch.from_numpy(labels)
        self._inputs = torch.from_numpy(self.images.array)
        self._ready = True

    def facts(self) -> dict[str, Any]:
        """Return what a reader of the figures has to know of the split."""
        found = facts(self.protocol, self.split, self.index, self.relations)
        return found | {"shuffled_labels": self.shuffle_labels}

    def nearest_neighbour(self) -> float | None:
        """Return the test accuracy of a look-up of the nearest thumbnail; None where nobody looked at them."""
        return nearest_neighbour_of_split(self.relations, self.index.labels, self.split)

    def split_rows(self) -> list[dict[str, str | int]]:
        """Return the rows of `split.csv`."""
        fold = np.full(len(self.index), self.protocol.fold) if self.protocol.split == "kfold" else None
        known = {"group": self.relations.known_groups(self.protocol.by), "patient": self.relations.patients}
        return part_rows(self.index, self.split.part_names(), **known, fold=fold)

    def use_features(self, features: Tensor) -> None:
        """Give a frozen backbone's features in place of the images from here on.

        Args:
            features: `(N, D)`, in the order of the index.

        Raises:
            ValueError: There is not one row for each image.
        """
        if features.ndim != 2 or len(features) != len(self.index):
            raise ValueError(f"Expected features of shape ({len(self.index)}, D), got {tuple(features.shape)}.")
        self._inputs = features

    def use_blocks(self) -> None:
        """Give many training batches at a time from here on, images as they are stored: see `prepared`."""
        self.in_blocks = True

    def train_dataloader(self) -> Batches:
        """Return the training part, in a new order each epoch."""
        return self._batches(self.split.train, shuffled=True)

    def val_dataloader(self) -> Batches:
        """Return the monitored part: validation where there is one, else the test part, as in the study."""
        return self._batches(self.split.val if self.monitored == "val" else self.split.test)

    def test_dataloader(self) -> Batches:
        """Return the test part."""
        return self._batches(self.split.test)

    def all_images(self, device: torch.device, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield `(positions, images)` over the whole data set, normalised and on `device`."""
        for start in range(0, len(self.index), batch_size):
            images = torch.from_numpy(self.images.array[start : start + batch_size])
            yield torch.arange(start, start + len(images)), self.normalized(images.to(device))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise images where they are; features and blocks pass as they are."""
        training = self.trainer is not None and self.trainer.training
        if self.in_blocks and training:
            return batch
        inputs, labels, positions = batch
        return self.prepared(inputs, training), labels, positions

    def prepared(self, inputs: Tensor, training: bool = True) -> Tensor:
        """Return a network's input: images, changed at random for training, and normalised; features as they are."""
        if inputs.ndim == 2:
            return inputs
        changes = training and not self.augmentation.does_nothing
        return self.normalized(self.augmentation(inputs) if changes else inputs)

    def normalized(self, images: Tensor) -> Tensor:
        """Widen, scale and shift images on their own device.

        Args:
            images: Intensities 0..255, `(B, C, H, W)` with C = 1 or 3.

        Returns:
            float32 `(B, 3, H, W)`.
        """
        self.scale, self.shift = self.scale.to(images.device), self.shift.to(images.device)
        last = torch.addcmul(self.shift, images.permute(0, 2, 3, 1).to(torch.float32), self.scale)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return last.permute(0, 3, 1, 2).contiguous(memory_format=layout)

    def _batches(self, part: object, shuffled: bool = False) -> Batches:
        trainer = self.trainer
        assert trainer is not None, "a Trainer asks for loaders"
        if self.batch_size % trainer.world_size:
            raise ValueError(
                f"Expected data.batch_size to be a multiple of the {trainer.world_size} devices, got {self.batch_size}."
            )
        inputs = self._resident(trainer.strategy.root_device)
        device = inputs.device
        stored = inputs.ndim == 4 and device.type == "cpu"  # images in the memory-mapped file
        block = BLOCK_FROM_DISK if stored else BLOCK
        return Batches(
            inputs,
            self.labels.to(device),
            torch.as_tensor(part).to(device),
            self.batch_size if shuffled else self.monitored_batch_size,
            Shard(trainer.global_rank, trainer.world_size),
            self.seed,
            (lambda: int(trainer.current_epoch)) if shuffled else None,
            block=block if shuffled and self.in_blocks else 1,
            prefetch=stored,
            pin=stored and trainer.strategy.root_device.type == "cuda",
        )

    def _resident(self, device: torch.device) -> Tensor:
        """Return the inputs on a GPU that has the room, else where they are."""
        assert self._inputs is not None, "setup comes first"
        if device.type == "cuda" and self._inputs.device != device:
            free, _ = torch.cuda.mem_get_info(device)
            if self._inputs.nbytes < DEVICE_SHARE * free:
                self._inputs = self._inputs.to(device)
        return self._inputs


def affine(normalize: str) -> tuple[Tensor, Tensor]:
    """Return scale and shift, `(3,)` each, that take intensities 0..255 to a network's input.

    Raises:
        ValueError: `normalize` is neither "unit" nor "imagenet".
    """
    if normalize == "unit":
        return torch.full((3,), 1 / 255), torch.zeros(3)
    if normalize == "imagenet":
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        return 1 / (255 * std), -mean / std
    raise ValueError(f"Expected `normalize` to be unit or imagenet, got {normalize!r}.")
