"""Optimizers and schedulers by name."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from brain_tumor_tl.model.optim import PLATEAU, build_optimizer, build_scheduler, check_learning


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


FAILS = {  # T05
    "closure": ("LBFGS", {}, None, {}, "LBFGS fails in training: it needs a closure"),
    "sparse": ("SparseAdam", {}, None, {}, "does not support dense gradients"),
    "matrices": ("Muon", {}, None, {}, "Muon rejects the network's layers: Muon only supports 2D"),
    "betas": ("Adam", {"betas": [0.9]}, None, {}, "Adam rejects `optimizer.options`"),
    "differentiable": ("SGD", {"differentiable": True}, None, {}, "a leaf Variable that requires grad"),
    "t-max": ("Adam", {}, "CosineAnnealingLR", {"T_max": 0}, "'T_max': 0.* fails in training: ZeroDivisionError"),
    "step-size": ("Adam", {}, "StepLR", {"step_size": 0}, "'step_size': 0.* fails in training: ZeroDivisionError"),
    "after-steps": ("Adam", {}, "StepLR", {"step_size": 9, "gamma": "a"}, "fails in training: TypeError"),
    "type": ("Adam", {}, PLATEAU, {"patience": "long"}, "fails in training: TypeError"),
}


@pytest.mark.parametrize(("name", "options", "scheduler", "schedule", "match"), FAILS.values(), ids=FAILS)
def test_check_learning__what_would_fail_in_training_is_refused(
    name: str, options: dict[str, Any], scheduler: str | None, schedule: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        check_learning(name, 0.001, options, scheduler, schedule)


OPTIMIZERS = sorted(
    name
    for name, found in vars(torch.optim).items()
    if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer) and found is not torch.optim.Optimizer
)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_check_learning__refuses_no_more_optimizers_than_can_not_train(name: str) -> None:
    if name in ("LBFGS", "SparseAdam", "Muon"):
        with pytest.raises(ValueError, match=name):
            check_learning(name, 0.001, {}, None, {})
    else:
        check_learning(name, 0.001, {}, None, {})


WORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "auto": ("OneCycleLR", {"max_lr": 0.1, "total_steps": "auto"}),
    "fewer-than-tried": ("OneCycleLR", {"max_lr": 0.1, "total_steps": 7}),
    "cycles": ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.2}),
    "plateau": (PLATEAU, {"patience": 2}),
}


@pytest.mark.parametrize(("name", "options"), WORKS.values(), ids=WORKS)
def test_check_learning__schedules_that_work(name: str, options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_learning("SGD", 0.001, {"momentum": 0.9}, name, options)


PLATEAUS = {
    "T13-test-split": ({"monitored": "test"}, {}, r"needs a validation split.*data\.val_fraction=0\.1 or .*train/loss"),
    "T13-told": ({"monitored": "test", "monitor": "val/accuracy"}, {}, "needs a validation split"),
    "T14-mode": ({}, {"mode": "max"}, r"`scheduler\.options\.mode` follows.*min, got max.*scheduler\.monitor=val/acc"),
    "T14-mode-of-accuracy": ({"monitor": "val/accuracy"}, {"mode": "min"}, "max, got min.*monitor=val/loss"),
    "steps": ({"interval": "step"}, {}, "goes by the metrics of epochs, got scheduler.interval=step"),
    "name": ({"monitor": "val/acuracy"}, {}, "one of train/loss.*Did you mean `val/accuracy`"),
    "test-metric": ({"monitor": "test/loss"}, {}, "Expected `scheduler.monitor` to be one of"),
}


@pytest.mark.parametrize(("how", "options", "match"), PLATEAUS.values(), ids=PLATEAUS)
def test_check_learning__plateau_goes_by_what_it_may(how: dict[str, Any], options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        check_learning("Adam", 0.001, {}, PLATEAU, options, **how)


@pytest.mark.parametrize(("scheduler", "options"), [(None, {}), ("StepLR", {"step_size": 3})], ids=["none", "other"])
def test_check_learning__a_monitor_without_effect_is_refused(scheduler: str | None, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"has an effect with scheduler.name=Red.* only, got {scheduler or 'none'}"):
        check_learning("Adam", 0.001, {}, scheduler, options, monitor="val/loss")


@pytest.mark.parametrize(
    ("monitor", "monitored", "mode"),
    [
        (None, "val", "min"),
        ("val/accuracy", "val", "max"),
        ("train/loss", "test", "min"),
        ("train/macro_f1", "test", "max"),
    ],
)
def test_build_scheduler__the_mode_follows_what_is_monitored(monitor: str | None, monitored: str, mode: str) -> None:
    optimizer = build_optimizer("Adam", layer().parameters(), 0.001, {})
    scheduler: Any = build_scheduler(PLATEAU, optimizer, {}, 10, monitor, monitored)
    assert scheduler.mode == mode


def test_build_scheduler__that_ends_before_the_run() -> None:
    optimizer = build_optimizer("Adam", layer().parameters(), 0.001, {})
    with pytest.raises(ValueError, match=r"ends after 5 steps, the run takes 6\. Give total_steps=auto"):
        build_scheduler("OneCycleLR", optimizer, {"max_lr": 0.1, "total_steps": 5}, steps=6)
