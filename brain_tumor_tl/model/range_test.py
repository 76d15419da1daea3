"""Range test: the training loss while the learning rate rises from step to step (Smith 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 120
SMOOTHING, DIVERGED = 0.9, 4.0  # of the losses; the test ends at this multiple of the least one, as in fastai
SKIPPED = 10  # first losses, over which the smoothed one settles, as in Lightning


@dataclass(frozen=True, eq=False)
class RangeTest:
    """The losses of a range test.

    Attributes:
        rates: Learning rate of each step, ascending, `(N,)`.
        losses: Loss before each step, `(N,)`.
        smoothed: Their exponential moving average, without the bias of its beginning, `(N,)`.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]

    @property
    def suggestion(self) -> float | None:
        """The rate at which the loss falls fastest before it is least; None if it never falls."""
        least = int(self.smoothed.argmin()) if len(self.smoothed) else 0
        if least <= SKIPPED:
            return None
        steepest = SKIPPED + int(np.gradient(self.smoothed)[SKIPPED:least].argmin())
        return float(self.rates[steepest])


def run_range_test(
    learn: Callable[[Any], Tensor],
    optimizer: Optimizer,
    batches: Iterable[Any],
    precision: Callable[[], AbstractContextManager[Any]],
) -> RangeTest:
    """Take steps at rising learning rates until the loss diverges or the batches end.

    Args:
        learn: Takes a batch to its loss.
        optimizer: Its groups keep the proportions of their rates; the first one has the rate of the test.
        batches: As many as there are to be steps, at most `STEPS` are taken.
        precision: Makes the context of a forward pass.
    """
    shares = [group["lr"] / optimizer.param_groups[0]["lr"] for group in optimizer.param_groups]
    rates, losses, smoothed = list[float](), list[float](), list[float]()
    average = 0.0
    for step, batch in zip(range(STEPS), batches, strict=False):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = rate * share
        optimizer.zero_grad(set_to_none=True)
        with precision():
            loss = learn(batch)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            break
        average = SMOOTHING * average + (1 - SMOOTHING) * value
        rates.append(rate)
        losses.append(value)
        smoothed.append(average / (1 - SMOOTHING ** (step + 1)))
        if smoothed[-1] > DIVERGED * min(smoothed):
            break
    return RangeTest(np.array(rates), np.array(losses), np.array(smoothed))
