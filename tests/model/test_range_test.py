"""Range test: rates rise together, the loss decides where it ends, and the suggestion is where it falls fastest."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import repeat

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from brain_tumor_tl.model.range_test import HIGHEST, LOWEST, SKIPPED, STEPS, RangeTest, run_range_test


def test_run_range_test__of_a_bowl_ends_where_steps_diverge() -> None:
    """Gradient descent on x**2 gets nearer to 0 in each step below a rate of 1, and farther above it."""
    weights = [nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 0.01}, {"params": weights[1:], "lr": 0.002}])
    rates: list[list[float]] = []

    def learn(_: None) -> Tensor:
        rates.append([group["lr"] for group in optimizer.param_groups])
        return weights[0].square().sum() + 1e-3 * weights[1].square().sum()

    found = run_range_test(learn, optimizer, repeat(None), nullcontext)

    assert 1 < found.rates[-1] < HIGHEST
    assert found.smoothed[-1] > 4 * found.smoothed.min()
    assert found.rates[0] == pytest.approx(LOWEST)
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(HIGHEST / LOWEST) / (STEPS - 1))
    np.testing.assert_allclose([second / first for first, second in rates], 0.2)
    assert found.suggestion is not None
    assert 0.001 < found.suggestion < 1


def test_run_range_test__ends_with_the_batches_or_a_loss_that_is_not_finite() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    assert len(run_range_test(lambda _: weight.sum(), optimizer, [None] * 5, nullcontext).rates) == 5
    spoilt = run_range_test(lambda batch: weight.sum() * batch, optimizer, [1.0, 1.0, float("nan"), 1.0], nullcontext)
    assert len(spoilt.losses) == 2


def of(losses: list[float]) -> RangeTest:
    """Return a test with these smoothed losses."""
    values = np.array(losses)
    return RangeTest(np.geomspace(1e-6, 1, len(values)), values, values)


def test_suggestion__falls_fastest_before_the_least_loss() -> None:
    flat, fall, rise = [2.0] * (SKIPPED + 5), [1.9, 1.5, 0.6, 0.5], [1.0, 3.0, 9.0, 2.0]
    found = of(flat + fall + rise)
    assert found.suggestion == pytest.approx(found.rates[len(flat) + 2], rel=0.5)
    assert of([1.0 + number for number in range(30)]).suggestion is None, "it never falls"
    assert of([]).suggestion is None
