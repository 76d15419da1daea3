"""Optimizers and schedulers of torch by name, their arguments checked before training."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from brain_tumor_tl.names import nearest


def classes_of(module: Any, base: type) -> dict[str, type]:
    """Return the public classes of a module that derive from `base`, by name."""
    found = {n: c for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, base) and c is not base}
    return {name: cls for name, cls in found.items() if not name.startswith("_")}


def checked_class(kind: str, name: str, module: Any, base: type, options: Mapping[str, Any], filled: set[str]) -> Any:
    """Return a class by name, having checked the names of its arguments.

    Args:
        kind: "optimizer" or "scheduler", for messages.
        name: The class's name.
        module: Where to look for it.
        base: What it must derive from.
        options: Arguments that the user gives.
        filled: Arguments that the package gives.

    Raises:
        ValueError: There is no such class, it has no such argument, or it needs one that is not given.
    """
    known = classes_of(module, base)
    if name not in known:
        raise ValueError(
            f"Expected `{kind}.name` to be a class of {module.__name__}, got {name!r}.{nearest(name, known)} "
            f"They are {', '.join(sorted(known))}."
        )
    parameters = dict(inspect.signature(known[name]).parameters)
    allowed = set(parameters) - filled - {"params", "optimizer"}
    wrong = sorted(set(options) - allowed)
    if wrong:
        raise ValueError(
            f"{name} takes no `{kind}.options.{wrong[0]}`.{nearest(wrong[0], allowed)} "
            f"It takes {', '.join(sorted(allowed))}."
        )
    needed = {n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    absent = sorted(needed - filled - set(options) - {"params", "optimizer"})
    if absent:
        raise ValueError(f"{name} needs `+{kind}.options.{absent[0]}=...`; it was not given.")
    return known[name]


def check_learning(
    optimizer: str, lr: float, optimizer_options: Mapping[str, Any], scheduler: str | None, options: Mapping[str, Any]
) -> None:
    """Build optimizer and scheduler over a parameter of no use, so that what they refuse is known before any work."""
    trial = build_optimizer(optimizer, [nn.Parameter(torch.zeros(2, 2))], lr, optimizer_options)
    if scheduler is not None:
        build_scheduler(scheduler, trial, options, steps=100)


def build_optimizer(
    name: str, parameters: Iterable[nn.Parameter], lr: float, options: Mapping[str, Any], fused: bool = True
) -> Optimizer:
    """Build an optimizer of torch.optim over what learns.

    Args:
        name: Its class.
        parameters: The network's; those that ask for no gradient are left out.
        lr: Learning rate.
        options: Its further arguments.
        fused: Update all parameters in one kernel where the class can and `options` don't say otherwise.

    Raises:
        ValueError: There is no such optimizer, or it refuses its arguments.
    """
    cls = checked_class("optimizer", name, torch.optim, Optimizer, options, {"lr"})
    if fused and can_fuse(cls, options):
        options = {**options, "fused": True}
    try:
        optimizer = cls([p for p in parameters if p.requires_grad], lr=lr, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} refuses `optimizer.options` {dict(options)}: {error}.") from error
    assert isinstance(optimizer, Optimizer)
    return optimizer


def can_fuse(cls: type, options: Mapping[str, Any]) -> bool:
    """Tell whether an optimizer has a fused implementation that its arguments leave open."""
    return "fused" in inspect.signature(cls).parameters and not {"fused", "foreach", "differentiable"} & set(options)


def build_scheduler(
    name: str, optimizer: Optimizer, options: Mapping[str, Any], steps: int
) -> lr_scheduler.LRScheduler:
    """Build a scheduler of torch.optim.lr_scheduler.

    Args:
        name: Its class.
        optimizer: What it steers.
        options: Its arguments; "auto" stands for `steps`.
        steps: How often it will be stepped in the whole run.

    Raises:
        ValueError: There is no such scheduler, or it refuses its arguments.
    """
    cls = checked_class("scheduler", name, lr_scheduler, lr_scheduler.LRScheduler, options, set())
    given = {key: steps if value == "auto" else value for key, value in options.items()}
    try:
        scheduler = cls(optimizer, **given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} refuses `scheduler.options` {given}: {error}.") from error
    assert isinstance(scheduler, lr_scheduler.LRScheduler)
    return scheduler
