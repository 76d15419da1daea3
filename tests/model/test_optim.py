"""Optimizers and schedulers by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from brain_tumor_tl.model.optim import build_optimizer, build_scheduler


def layer() -> nn.Linear:
    return nn.Linear(3, 2)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop", "NAdam"])
def test_build_optimizer__by_name(name: str) -> None:
    optimizer = build_optimizer(name, layer().parameters(), 0.01, {"weight_decay": 0.1})
    assert type(optimizer) is getattr(torch.optim, name)
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_build_optimizer__holds_only_what_learns() -> None:
    net = layer()
    net.weight.requires_grad_(False)
    held = build_optimizer("Adam", net.parameters(), 0.01, {}).param_groups[0]["params"]
    assert len(held) == 1
    assert held[0] is net.bias


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("Adamm", {}, "Did you mean `Adam`"),
        ("Adam", {"weight_decy": 0.1}, "Did you mean `weight_decay`"),
        ("Adam", {"lr": 0.1}, "takes no `optimizer.options.lr`"),
        ("Adam", {"betas": [2.0, 0.9]}, "rejects `optimizer.options`"),
        ("Optimizer", {}, "to be a class of torch.optim"),
    ],
    ids=["name", "option", "lr-twice", "value", "base-class"],
)
def test_build_optimizer__bad_input(name: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build_optimizer(name, layer().parameters(), 0.01, options)


def test_build_scheduler__auto_is_the_number_of_steps() -> None:
    optimizer = build_optimizer("Adam", layer().parameters(), 0.001, {})
    scheduler = build_scheduler("OneCycleLR", optimizer, {"max_lr": 0.001, "total_steps": "auto"}, steps=10)
    rates = []
    for _ in range(9):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr()[0])
    assert max(rates) == pytest.approx(0.001, rel=0.05)
    assert rates[-1] < 1e-6


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("StepLRR", {}, "Did you mean `StepLR`"),
        ("StepLR", {}, "requires `\\+scheduler.options.step_size"),
        ("StepLR", {"step_siz": 1}, "Did you mean `step_size`"),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": -3}, "rejects"),
    ],
    ids=["name", "absent", "option", "value"],
)
def test_build_scheduler__bad_input(name: str, options: dict[str, Any], match: str) -> None:
    optimizer = build_optimizer("Adam", layer().parameters(), 0.001, {})
    with pytest.raises(ValueError, match=match):
        build_scheduler(name, optimizer, options, steps=10)
