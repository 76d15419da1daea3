"""Batches: an epoch gathered from tensors that hold the whole data set, with no worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
    """

    inputs: Tensor
    labels: Tensor
    positions: Tensor
    batch_size: int
    shard: Shard = Shard()
    seed: int = 0
    epoch: Callable[[], int] | None = None

    def __len__(self) -> int:
        count = len(self.positions)
        whole, rest = divmod(count, self.batch_size)
        return whole + (1 if rest and not self._drops(rest) else 0)

    def __iter__(self) -> Iterator[Batch]:
        order = self._order()
        for start in range(0, len(order), self.batch_size):
            chunk = order[start : start + self.batch_size]
            if self._drops(len(chunk)):
                return
            mine = chunk[self.shard.number :: self.shard.count]
            yield self.inputs[mine], self.labels[mine], mine

    def _drops(self, size: int) -> bool:
        """Tell whether a training batch is too small to give every process an image."""
        return self.epoch is not None and size < self.shard.count

    def _order(self) -> Tensor:
        if self.epoch is None:
            return self.positions
        # NumPy's legacy generator mixes seed and epoch and has a frozen stream (NEP 19); torch's would look at 32 bits.
        order = np.random.RandomState([self.seed, self.epoch()]).permutation(len(self.positions))
        return self.positions[torch.from_numpy(order).to(self.positions.device)]
