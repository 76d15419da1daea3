"""Batches: an epoch gathered from tensors that hold the whole data set, with no worker processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Queue

import numpy as np
import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Shard:
    """Which share of each batch a process takes: every `count`-th image from the `number`-th on."""

    number: int = 0
    count: int = 1


@dataclass(frozen=True)
class Batches:
    """Iterates over `(inputs, labels, positions)`; a fresh order each epoch where `epoch` is given.

    The order depends on the seed and the epoch alone, so a run that was cut goes on as if it had not been.

    Attributes:
        inputs: Images or features of the whole data set, `(N, ...)`.
        labels: `(N,)`, on the same device.
        positions: The images of this part, ascending positions in the data set.
        batch_size: Images in a batch, over all processes together.
        shard: This process's share.
        seed: Seed of the order.
        epoch: Tells the epoch's number when an epoch starts; None keeps the positions' own order.
        block: Batches that come together as one, for several steps in a row; only with one process.
        prefetch: Gather the next batch while the last is in use, for inputs that lie on disk.
        pin: Gather into page-locked memory, from which a GPU copies without waiting.
    """

    inputs: Tensor
    labels: Tensor
    positions: Tensor
    batch_size: int
    shard: Shard = Shard()
    seed: int = 0
    epoch: Callable[[], int] | None = None
    block: int = 1
    prefetch: bool = False
    pin: bool = False

    def __len__(self) -> int:
        whole, rest = divmod(len(self.positions), self.batch_size * self.block)
        return whole + (1 if rest and not self._drops(rest) else 0)

    def __iter__(self) -> Iterator[Batch]:
        return ahead(self._gathered()) if self.prefetch else self._gathered()

    def _gathered(self) -> Iterator[Batch]:
        order, size = self._order(), self.batch_size * self.block
        for start in range(0, len(order), size):
            chunk = order[start : start + size]
            if self._drops(len(chunk)):
                return
            mine = chunk[self.shard.number :: self.shard.count]
            inputs = self._rows(self.inputs, mine)
            yield inputs.pin_memory() if self.pin else inputs, self._rows(self.labels, mine), mine

    def _rows(self, values: Tensor, which: Tensor) -> Tensor:
        """Return some rows of a tensor, without OpenMP where a thread reads ahead.

        From a few thousand rows on torch would give that thread a team of its own, and where OpenMP has more threads
        than processors it lets none wait actively. That cost everything in the process a third of its speed.
        """
        return torch.from_numpy(values.numpy()[which.numpy()]) if self.prefetch else values[which]

    def _drops(self, size: int) -> bool:
        """Tell whether a training batch is too small to give every process an image."""
        return self.epoch is not None and size < self.shard.count

    def _order(self) -> Tensor:
        if self.epoch is None:
            return self.positions
        # NumPy's legacy generator mixes seed and epoch and has a frozen stream (NEP 19); torch's would look at 32 bits.
        order = np.random.RandomState([self.seed, self.epoch()]).permutation(len(self.positions))
        return self._rows(self.positions, torch.from_numpy(order).to(self.positions.device))


def ahead(batches: Iterator[Batch], depth: int = 2) -> Iterator[Batch]:
    """Yield batches that a thread has gathered meanwhile; at most `depth` of them wait in memory."""
    waiting: Queue[Batch | BaseException | None] = Queue(depth)
    left = threading.Event()

    def gather() -> None:
        try:
            for batch in batches:
                waiting.put(batch)
                if left.is_set():
                    return
            waiting.put(None)
        except BaseException as error:  # whatever it is belongs to the thread that reads
            waiting.put(error)

    thread = threading.Thread(target=gather, name="prefetch", daemon=True)
    thread.start()
    try:
        while (batch := waiting.get()) is not None:
            if isinstance(batch, BaseException):
                raise batch
            yield batch
    finally:  # an epoch that is left early must not leave the thread waiting for room
        left.set()
        while thread.is_alive():
            drain(waiting)
            thread.join(0.01)


def drain(waiting: Queue[Batch | BaseException | None]) -> None:
    """Take out what nobody will read."""
    while not waiting.empty():
        waiting.get_nowait()
