"""Stopping: after how many evaluations, and why."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest
import torch

from brain_tumor_tl.run.stopping import Patience, why_stopped


def after(*accuracies: float, patience: int = 2) -> tuple[Patience, Any]:
    """Return a callback and a Trainer after evaluations of these accuracies."""
    stopping, trainer = Patience("val/accuracy", patience), Mock(should_stop=False, fast_dev_run=False)
    trainer.strategy.reduce_boolean_decision = lambda decision, all: decision
    for accuracy in accuracies:
        trainer.callback_metrics = {"val/accuracy": torch.tensor(accuracy)}
        stopping._run_early_stopping_check(trainer)
    trainer.callbacks = [Mock(), stopping]
    return stopping, trainer


CASES = {
    "better": ((0.5, 0.6, 0.6, 0.7, 0.7), False),
    "equal-is-no-better": ((0.5, 0.5, 0.5), True),
    "worse": ((0.5, 0.4, 0.45), True),
}


@pytest.mark.parametrize(("accuracies", "stops"), CASES.values(), ids=CASES)
def test_patience__counts_evaluations_without_a_better_accuracy(accuracies: tuple[float, ...], stops: bool) -> None:
    stopping, trainer = after(*accuracies)
    assert trainer.should_stop is stops
    assert why_stopped(trainer) == ("no better val/accuracy in 2 evaluations" if stops else None)
    resumed, later = Patience("val/accuracy", 2), Mock(should_stop=False)
    resumed.load_state_dict(stopping.state_dict())
    resumed.on_fit_start(later, Mock())
    assert later.should_stop is stops


def test_why_stopped__without_patience() -> None:
    assert why_stopped(Mock(callbacks=[Mock()])) is None
