"""Optimizers and schedulers of torch by name, with their arguments checked before training."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from brain_tumor_tl.names import nearest

Options = Mapping[str, Any] | None


def checked_class(kind: str, name: str, base: type, options: Mapping[str, Any]) -> Any:
    """Return an optimizer or scheduler class by name, after checking the names of its arguments.

    Args:
        kind: "optimizer" or "scheduler", for messages.
        name: The class's name.
        base: The class that it derives from, in whose module torch offers it.
        options: Arguments that the user gives.

    Raises:
        ValueError: There is no such class, it has no such argument, or a required argument is missing.
    """
    module: Any = torch.optim if base is Optimizer else lr_scheduler
    found = {n: c for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, base) and c is not base}
    known = {n: c for n, c in found.items() if not n.startswith("_")}
    if name not in known:
        raise ValueError(
            f"Expected `{kind}.name` to be a class of {module.__name__}, got {name!r}.{nearest(name, known)} "
            f"Available are {', '.join(sorted(known))}."
        )
    given = {"params", "lr"} if base is Optimizer else {"optimizer"}  # by this package
    parameters = {n: p for n, p in inspect.signature(known[name]).parameters.items() if n not in given}
    wrong = sorted(set(options) - set(parameters))
    if wrong:
        raise ValueError(
            f"{name} takes no `{kind}.options.{wrong[0]}`.{nearest(wrong[0], parameters)} "
            f"It takes {', '.join(sorted(parameters))}."
        )
    required = {n for n, p in parameters.items() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    if missing := sorted(required - set(options)):
        raise ValueError(f"{name} requires `+{kind}.options.{missing[0]}=...`, which was not given.")
    return known[name]


def construct(kind: str, cls: Any, argument: object, options: Mapping[str, Any], **given: Any) -> Any:
    """Construct an optimizer or scheduler, with a clear error for values that it rejects."""
    try:
        return cls(argument, **given, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{cls.__name__} rejects `{kind}.options` {dict(options)}: {error}.") from error


def check_learning(
    optimizer: str, lr: float, optimizer_options: Options, scheduler: str | None, scheduler_options: Options
) -> None:
    """Build optimizer and scheduler on a dummy parameter, so that wrong arguments are known before any work."""
    dummy = build_optimizer(optimizer, [nn.Parameter(torch.zeros(2, 2))], lr, optimizer_options)
    if scheduler is not None:
        build_scheduler(scheduler, dummy, scheduler_options, steps=100)


def build_optimizer(
    name: str, parameters: Iterable[nn.Parameter], lr: float, options: Options, fused: bool = True
) -> Optimizer:
    """Build an optimizer of torch.optim for the trainable parameters.

    Args:
        name: Its class.
        parameters: The network's; frozen ones are left out.
        lr: Learning rate.
        options: Its other arguments.
        fused: Update all parameters in one kernel if the class can and `options` don't say otherwise.

    Raises:
        ValueError: There is no such optimizer, or it rejects its arguments.
    """
    options = dict(options or {})
    cls = checked_class("optimizer", name, Optimizer, options)
    chosen = {"fused", "foreach", "differentiable"}.intersection(options)
    if fused and not chosen and "fused" in inspect.signature(cls).parameters:
        options["fused"] = True
    optimizer: Optimizer = construct("optimizer", cls, [p for p in parameters if p.requires_grad], options, lr=lr)
    return optimizer


def build_scheduler(name: str, optimizer: Optimizer, options: Options, steps: int) -> lr_scheduler.LRScheduler:
    """Build a scheduler of torch.optim.lr_scheduler.

    Args:
        name: Its class.
        optimizer: The optimizer whose learning rate it sets.
        options: Its arguments; "auto" stands for `steps`.
        steps: Number of scheduler steps in the whole run.

    Raises:
        ValueError: There is no such scheduler, or it rejects its arguments.
    """
    given = {key: steps if value == "auto" else value for key, value in (options or {}).items()}
    cls = checked_class("scheduler", name, lr_scheduler.LRScheduler, given)
    scheduler: lr_scheduler.LRScheduler = construct("scheduler", cls, optimizer, given)
    return scheduler
