"""Batches: the source of a network's inputs. It gathers them from one tensor, without worker processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]
Prepare = Callable[[Tensor], Tensor]

BLOCK, BLOCK_FROM_DISK = 128, 8  # batches in a block: of inputs in memory, and of inputs that are read from disk
GPU_MONITORED = 256  # images that a GPU evaluates together
DEVICE_SHARE = 0.5  # of a GPU's free memory that the inputs may take; the network needs the rest


@dataclass(frozen=True, eq=False)
class Batches:
    """Yields `(inputs, labels, positions)`, on the device and prepared for the network.

    The order of an epoch depends on the seed and the epoch's number alone, so a resumed run sees the same batches as
    an uninterrupted one.

    Attributes:
        inputs: Images, features or feature maps of the whole data set, `(N, ...)`.
        labels: `(N,)`, on the device of `inputs`.
        positions: The images to yield, by ascending positions in the data set, on the device of `inputs`.
        batch_size: Images in a batch, over all processes together.
        device: Where batches are wanted.
        prepare: Takes a batch of inputs to what the network takes, on the device; None to leave inputs as they are.
        seed: Seed of the order.
        epoch: Returns the current epoch. Batches are then shuffled, for training; None keeps the order of `positions`.
        rank: This process takes every `world_size`-th image of a batch, beginning with this one.
        world_size: Number of processes.
        in_blocks: Whether to yield many batches as one block; only for one process.
        min_images: A last training batch with fewer images than this, or than processes, is left out.
        variants: Augmented variants of `inputs`, which the epochs of training take in turn after `inputs` themselves.
        reads_ahead: Whether a thread gathers the next batches meanwhile, for inputs that are read from disk.
    """

    inputs: Tensor
    labels: Tensor
    positions: Tensor
    batch_size: int
    device: torch.device
    prepare: Prepare | None = None
    seed: int = 0
    epoch: Callable[[], int] | None = None
    rank: int = 0
    world_size: int = 1
    in_blocks: bool = False
    min_images: int = 1
    variants: tuple[Tensor, ...] = ()
    reads_ahead: bool = False

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"Expected an input for each of {len(self.labels)} images, got {len(self.inputs)}.")
        if self.epoch is not None and self.batch_size % self.world_size:
            raise ValueError(
                f"Expected data.batch_size to be a multiple of the {self.world_size} devices, got {self.batch_size}."
            )

    def of(self, positions: NDArray[np.int64], **changes: Any) -> Batches:
        """Return the batches of some of the images, by positions in the data set, with other attributes."""
        return replace(self, positions=torch.as_tensor(positions).to(self.inputs.device), **changes)

    @property
    def size(self) -> int:
        """Images that are yielded together."""
        return self.batch_size * ((BLOCK_FROM_DISK if self.reads_ahead else BLOCK) if self.in_blocks else 1)

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[Batch]:
        for inputs, labels, positions in ahead(self._gathered()) if self.reads_ahead else self._gathered():
            inputs = inputs.to(self.device, non_blocking=True)
            prepared = inputs if self.prepare is None else self.prepare(inputs)
            yield prepared, labels.to(self.device), positions.to(self.device)

    def _gathered(self) -> Iterator[Batch]:
        """Yield batches where the data set is; in page-locked memory where a GPU is to copy them."""
        order, choices = self._order()[: self._count()], (self.inputs, *self.variants)
        chosen = choices[0 if self.epoch is None else self.epoch() % len(choices)]
        for start in self._starts():
            mine = order[start : start + self.size][self.rank :: self.world_size]
            inputs = self._rows(chosen, mine)
            pinned = self.reads_ahead and self.device.type == "cuda"
            yield inputs.pin_memory() if pinned else inputs, self._rows(self.labels, mine), mine

    def _rows(self, values: Tensor, which: Tensor) -> Tensor:
        """Return some rows of a tensor, without OpenMP in the thread that reads ahead.

        For a few thousand rows or more torch starts an OpenMP team, and the reading thread would get one of its own.
        With more OpenMP threads than processors no thread waits actively, which cost a third of the speed.
        """
        return torch.from_numpy(values.numpy()[which.numpy()]) if self.reads_ahead else values[which]

    def _starts(self) -> range:
        """Return where each batch begins."""
        return range(0, self._count(), self.size)

    def _count(self) -> int:
        """Return how many images are yielded: all but those of a last training batch that is left out."""
        if self.epoch is None:
            return len(self.positions)
        return images_used(len(self.positions), self.batch_size, max(self.min_images, self.world_size))

    def _order(self) -> Tensor:
        if self.epoch is None:
            return self.positions
        order = order_of(len(self.positions), self.seed, self.epoch())
        return self._rows(self.positions, torch.from_numpy(order).to(self.positions.device))


def order_of(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order in which an epoch takes the training images, by places among them.

    NumPy's legacy generator takes seed and epoch and has a frozen stream (NEP 19); torch's has a 32-bit seed.
    """
    return np.random.RandomState([seed, epoch]).permutation(images)


def images_used(images: int, batch_size: int, min_images: int) -> int:
    """Return how many images an epoch of training uses: all but those of a last batch with fewer than `min_images`.

    >>> images_used(26, 5, min_images=1), images_used(26, 5, min_images=2)
    (26, 25)
    """
    rest = images % batch_size
    return images - (rest if rest < min_images else 0)


def monitored_batch_size(trainer: Mapping[str, Any], batch_size: int, images: int, cached: bool, gpu: bool) -> int:
    """Return how many images are evaluated together; no result depends on it but by rounding, only the speed.

    All features at once, or enough images to keep a GPU busy; the user's batch size if batches are counted.

    Args:
        trainer: Its settings, which may count batches.
        batch_size: The user's.
        images: In the data set.
        cached: Whether cached features take the place of images.
        gpu: Whether a GPU computes.
    """
    if any(trainer[f"limit_{split}_batches"] is not None for split in ("val", "test")):
        return batch_size
    if cached:
        return max(images, 1)
    return max(batch_size, GPU_MONITORED) if gpu else batch_size


def ahead(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    """Yield batches while a thread gathers the next `depth` of them."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as reader:
        waiting = deque(reader.submit(next, batches, None) for _ in range(depth))
        while (batch := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(next, batches, None))
            yield batch


def resident(inputs: Tensor, device: torch.device) -> Tensor:
    """Return inputs on a GPU with enough free memory, else where they are."""
    return all_resident((inputs,), device)[0]


def all_resident(variants: tuple[Tensor, ...], device: torch.device) -> tuple[Tensor, ...]:
    """Return variants of the same inputs on a GPU with enough free memory for all of them, else where they are."""
    if device.type != "cuda" or all(each.device == device for each in variants):
        return variants
    free, _ = torch.cuda.mem_get_info(device)
    fit = sum(each.nbytes for each in variants) < DEVICE_SHARE * free
    return tuple(each.to(device) for each in variants) if fit else variants
