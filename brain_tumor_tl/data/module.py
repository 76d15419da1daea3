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
from brain_tumor_tl.data.batches import Batches, Prepare, resident
from brain_tumor_tl.data.contents import FROM_IDS
from brain_tumor_tl.data.images import load_images
from brain_tumor_tl.data.index import Index, read_index, shortened
from brain_tumor_tl.data.intensity import Intensity, describe_intensity
from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.data.leakage.relations import Relations, find_relations, nearest_neighbour_accuracy
from brain_tumor_tl.data.normalize import Normalization
from brain_tumor_tl.data.patients import AUTO, Patients
from brain_tumor_tl.data.splits.protocol import Protocol, describe_split, divide, shuffled
from brain_tumor_tl.data.splits.split import Split, split_rows
from brain_tumor_tl.data.table import apply_tables, classes_or_labels
from brain_tumor_tl.data.volumes import ALL, describe_slices


class TumorData(L.LightningDataModule):
    """Brain MRI slices of a folder as batches of `(images, labels, positions)`.

    Images are float32 `(B, 3, size, size)`, labels and positions int64 `(B,)`, all on the Trainer's device. All images
    are in one decoded array, in the memory of a CUDA device if they fit, else in the cache's memory-mapped file.

    Args:
        root: Folder of the images, in any layout that `read_index` knows.
        classes: For each class, in the order of the labels, its name or a list of its name and further folder names for
            it; None for the names of the folders, or where there are none for the labels of `labels`.
        image_size: Height and width in pixels.
        batch_size: Images in an optimizer step, over all devices together.
        normalize: "unit" or "imagenet"; see `Normalization`.
        cache_dir: Folder of the decoded images.
        seed: Seed of the split and of the order of batches.
        protocol: How images are split. Without a validation split, the test split is evaluated after each epoch.
        labels: CSV file whose labels replace those of the folders.
        patients: CSV file with the images' patients; "auto" for the `patient` column of `labels`, else what the files,
            folders and volumes tell, else the package's own table for images that it recognises; None for none.
        merge_scans: Whether patients whose names differ only in one last letter are one.
        find_copies: "auto", or whether to look for copies among the images.
        shuffle_labels: Whether to train on permuted labels, a control whose accuracy must be at chance.
        augmentation: Random changes of the training images.
        on_bad_file: "error", or "skip" to leave out unreadable files.
        intensity: The rule for images of more than 8 bits; see `find_intensity`.
        slices: Which slices of volumes are images; see `chosen_slices`.
        channels_last: Whether images are laid out with channels last.

    After `setup`, `index`, `split`, `labels` and `pixels` describe the images.
    """

    index: Index
    split: Split
    patients: Patients | None
    relations: Relations
    images: CacheEntry
    pixels: Tensor  # uint8 `(N, C, size, size)`
    labels: Tensor
    trainer: L.Trainer

    def __init__(
        self,
        root: str | Path,
        classes: Sequence[str | Sequence[str]] | None,
        *,
        image_size: int,
        batch_size: int,
        normalize: str,
        cache_dir: str | Path,
        seed: int,
        protocol: Protocol | None = None,
        labels: str | Path | None = None,
        patients: str | Path | None = AUTO,
        merge_scans: bool = False,
        find_copies: str | bool = "auto",
        shuffle_labels: bool = False,
        augmentation: Augmentation | None = None,
        on_bad_file: str = "error",
        intensity: str = "auto",
        slices: str = ALL,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.root, self.classes = Path(root), classes_or_labels(classes, root, labels)
        self.image_size, self.batch_size = image_size, batch_size
        self.cache_dir, self.seed = Path(cache_dir), seed
        self.protocol, self.shuffle_labels, self.find_copies = protocol or Protocol(), shuffle_labels, find_copies
        self.tables = (None if labels is None else Path(labels), patients, merge_scans)
        self.augmentation = augmentation or Augmentation()
        self.on_bad_file, self.rule, self.slices = on_bad_file, intensity, slices
        self.normalize = Normalization(normalize, channels_last)

    @property
    def monitored(self) -> str:
        """The split evaluated after each epoch: "val" if there is one, else "test"."""
        return "val" if self.protocol.val_fraction > 0 else "test"

    def setup(self, stage: str | None = None) -> None:
        """Read the index, split it and open the decoded images; once, for all stages."""
        if hasattr(self, "pixels"):
            return
        index = read_index(self.root, self.classes, by_table=self.tables[0] is not None, slices=self.slices)
        self.images, index = load_images(index, self.image_size, self.cache_dir, self.on_bad_file, self.rule)
        self.index, self.patients = apply_tables(index, self.classes, *self.tables)
        patients = None if self.patients is None else self.patients.numbers
        self.relations = find_relations(
            self.index, self.images, self.cache_dir, patients, self.find_copies, needed=self.protocol.needs_copies
        )
        self.split = divide(self.protocol, self.index, self.relations, self.seed)
        labels = shuffled(self.index.labels, self.split, self.seed) if self.shuffle_labels else self.index.labels
        self.labels = torch.from_numpy(labels)
        self.pixels = torch.from_numpy(self.images.array)

    def describe_split(self) -> dict[str, Any]:
        """Return what is known of the split and of what its test and training images share, as JSON values."""
        return describe_split(self.protocol, self.split, self.index, self.relations) | {
            "patients_from": None if self.patients is None else self.patients.source,
            "shuffled_labels": self.shuffle_labels,
            "intensity": self.intensity,
            "folders_left_out": [printable(name) for name in self.index.left_out],
        }

    def remarks(self) -> Iterator[tuple[str, str]]:
        """Yield titles and sentences on how the images were found and read, after `setup`."""
        if sentence := describe_intensity(self.intensity, len(self.index)):
            yield "Intensity", sentence
        if sentence := describe_slices(self.index.paths, len(self.index.not_chosen), self.slices):
            yield "Slices", sentence
        if self.patients is not None:
            yield "Patients", self.patients.describe(self.split.test)
        if self.index.left_out:
            yield "Left out", f"{printable(shortened(self.index.left_out))}, which are folders of no class"

    @property
    def intensity(self) -> Intensity:
        """What was done with the images of more than 8 bits, after `setup`."""
        found: Intensity = self.images.about["intensity"]
        return found

    def preprocessing(self) -> dict[str, Any]:
        """Return how files become a network's input, as plain values for a checkpoint, after `setup`."""
        return {
            "image_size": self.image_size,
            "normalize": self.normalize.name,
            "intensity": dict(self.intensity),
            "channels": int(self.pixels.shape[1]),
            "channels_last": self.normalize.layout == torch.channels_last,
        }

    def nearest_neighbour(self) -> float | None:
        """Return the test accuracy of the nearest-neighbour (1-NN) baseline; None if not computed."""
        thumbnails, split = self.relations.thumbnails, self.split
        return nearest_neighbour_accuracy(thumbnails, self.index.labels, split.train, split.test)

    def split_rows(self) -> list[dict[str, str | int]]:
        """Return the rows of `split.csv`."""
        fold = np.full(len(self.index), self.protocol.fold) if self.protocol.split == "kfold" else None
        found = self.relations
        groups = {"group": found.known_groups(self.protocol.by), "copies": found.known_copies}
        rows = split_rows(self.index, self.split.names(), **groups, patient=found.patients, fold=fold)
        if self.index.patients_from == FROM_IDS:
            return [row | {"pseudonym": name} for row, name in zip(rows, self.index.patients, strict=True)]
        return rows

    def train_dataloader(self) -> Batches:
        """Return the training split, augmented and in a new order each epoch."""
        images = self._all_images()
        return images.of(self.split.train, prepare=self.prepare_training, epoch=lambda: int(self.trainer.current_epoch))

    def val_dataloader(self) -> Batches:
        """Return the monitored split."""
        return self._all_images().of(getattr(self.split, self.monitored))

    def test_dataloader(self) -> Batches:
        """Return the test split."""
        return self._all_images().of(self.split.test)

    def predict_dataloader(self) -> Batches:
        """Return all images of all splits, in the order of the index."""
        return self._all_images()

    def prepare_training(self, images: Tensor) -> Tensor:
        """Return stored images as a network's input for training: augmented, then normalised."""
        return self.normalize(images if self.augmentation.does_nothing else self.augmentation(images))

    def _all_images(self) -> Batches:
        if not hasattr(self, "pixels"):
            raise ValueError(
                "Expected `setup` before any loader: give the data module to a Trainer, or call setup() first."
            )
        if self.trainer is None:
            raise ValueError(
                "Expected a Trainer, whose device and epoch loaders need: call trainer.fit(model, data), or validate, "
                "test or predict. Without one use `pixels`, `labels` and `split`."
            )
        self.pixels = resident(self.pixels, self.trainer.strategy.root_device)
        return self.batches(self.pixels, self.trainer, self.normalize, from_disk=True)

    def batches(
        self, inputs: Tensor, trainer: L.Trainer, prepare: Prepare | None = None, from_disk: bool = False
    ) -> Batches:
        """Return the whole data set as batches for a Trainer's device and processes.

        Args:
            inputs: `pixels`, or the output of a frozen part of the network in their place, `(N, ...)`.
            trainer: Gives device and processes.
            prepare: Takes a batch of inputs to what the network takes.
            from_disk: Whether inputs on the processor are memory-mapped.
        """
        where = inputs.device
        return Batches(
            inputs,
            self.labels.to(where),
            torch.arange(len(inputs), device=where),
            self.batch_size,
            device=trainer.strategy.root_device,
            prepare=prepare,
            seed=self.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            reads_ahead=from_disk and where.type == "cpu",
        )
