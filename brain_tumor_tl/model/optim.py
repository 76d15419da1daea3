"""Optimizers and schedulers of torch by name, with their arguments checked before training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from brain_tumor_tl.model.parameter_groups import for_each_group
from brain_tumor_tl.names import nearest

Options = Mapping[str, Any] | None
MANY = 100  # scheduler steps that are tried before training
ONLY_PLATEAU = "has an effect with scheduler.name=ReduceLROnPlateau only"
PLATEAU = "ReduceLROnPlateau"  # the one scheduler that goes by a metric
HEADLINES = ("loss", "accuracy", "balanced_accuracy", "macro_f1")  # for checkpoints and schedulers to go by


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
    except Exception as error:  # torch checks some values by failing on them, in whatever way
        what = f"`{kind}.options` {dict(options)}" if options else "the network's layers"
        raise ValueError(f"{cls.__name__} rejects {what}: {str(error).rstrip('.')}.") from error


def check_learning(
    optimizer: str,
    lr: float,
    optimizer_options: Options,
    scheduler: str | None,
    scheduler_options: Options,
    interval: str = "epoch",
    monitor: str | None = None,
    monitored: str = "val",
    factors: Sequence[float] = (1.0,),
) -> None:
    """Take steps of optimizer and scheduler on dummy parameters, so that what fails is known before any work.

    Args:
        optimizer: Class of the optimizer.
        lr: Learning rate.
        optimizer_options: Its other arguments.
        scheduler: Class of the scheduler, or None.
        scheduler_options: Its arguments.
        interval: "epoch" or "step".
        monitor: What ReduceLROnPlateau goes by; None for the loss of the monitored split.
        monitored: The split evaluated after epochs: "val" or "test".
        factors: Of the learning rate, for each parameter group.

    Raises:
        ValueError: With what is wrong and the way out.
    """
    groups = [{"params": dummy_layer(), "lr": lr * factor} for factor in factors]
    dummy = build_optimizer(optimizer, groups, lr, optimizer_options)
    if scheduler is None and monitor is not None:
        raise ValueError(f"`scheduler.monitor={monitor}` {ONLY_PLATEAU}, got none.")
    if scheduler == PLATEAU and interval != "epoch":
        raise ValueError(f"{PLATEAU} goes by the metrics of epochs, got scheduler.interval={interval}. Give =epoch.")
    built: Any = scheduler and build_scheduler(scheduler, dummy, scheduler_options, None, monitor, monitored)
    try_steps("optimizer", optimizer, optimizer_options, dummy.step, 1)
    if scheduler is not None:
        value = (1.0,) if scheduler == PLATEAU else ()
        count = min(MANY, getattr(built, "total_steps", MANY))  # some arguments are first used after some steps
        try_steps("scheduler", scheduler, scheduler_options, lambda: built.step(*value), count)


def dummy_layer() -> list[nn.Parameter]:
    """Return a layer's weight and bias, with gradients."""
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in ((2, 2), (2,))]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    return parameters


def try_steps(kind: str, name: str, options: Options, step: Callable[[], Any], count: int) -> None:
    """Take steps, with a clear error where torch fails in them."""
    try:
        for _ in range(count):
            step()
    except Exception as error:  # in whatever way, as in `construct`
        why = "it needs a closure" if "closure" in str(error) else f"{type(error).__name__}: {str(error).rstrip('.')}"
        given = f" with `{kind}.options` {dict(options)}" if options else ""
        raise ValueError(
            f"{name}{given} fails in training: {why}. Give other options or another `{kind}.name`."
        ) from error


def check_monitor(scheduler: str, monitor: str | None, monitored: str) -> None:
    """Raise a ValueError unless a scheduler can go by `monitor`, and does not go by the test split."""
    if scheduler != PLATEAU:
        if monitor is not None:
            raise ValueError(f"`scheduler.monitor={monitor}` {ONLY_PLATEAU}, got {scheduler}.")
        return
    known = [f"{split}/{name}" for split in ("train", "val") for name in HEADLINES]
    if monitor is not None and monitor not in known:
        raise ValueError(
            f"Expected `scheduler.monitor` to be one of {', '.join(known)}, got {monitor!r}.{nearest(monitor, known)}"
        )
    if monitored != "val" and not (monitor and monitor.startswith("train/")):
        raise ValueError(
            f"{PLATEAU} needs a validation split: by the test split it would choose the learning rates, and the "
            "accuracy would look better than it is. Give data.val_fraction=0.1 or scheduler.monitor=train/loss."
        )


def with_mode(options: Mapping[str, Any], monitor: str | None) -> dict[str, Any]:
    """Return the options of ReduceLROnPlateau with the direction in which what it monitors gets better.

    >>> with_mode({"patience": 3}, "val/accuracy")
    {'patience': 3, 'mode': 'max'}
    """
    mode = "max" if monitor and not monitor.endswith("/loss") else "min"
    if options.get("mode", mode) != mode:
        better = "val/accuracy" if mode == "min" else "val/loss"
        raise ValueError(
            f"`scheduler.options.mode` follows from `scheduler.monitor`, which is {monitor or 'the loss'}: {mode}, got "
            f"{options['mode']}. Leave the mode out, or give scheduler.monitor={better}."
        )
    return {**options, "mode": mode}


def build_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter | dict[str, Any]],
    lr: float,
    options: Options,
    fused: bool = True,
) -> Optimizer:
    """Build an optimizer of torch.optim for the trainable parameters.

    Args:
        name: Its class.
        parameters: The network's, of which frozen ones are left out, or groups of `parameter_groups`.
        lr: Learning rate of those without one of their own.
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
    chosen_ones = [p for p in parameters if isinstance(p, dict) or p.requires_grad]
    optimizer: Optimizer = construct("optimizer", cls, chosen_ones, options, lr=lr)
    return optimizer


def build_scheduler(
    name: str,
    optimizer: Optimizer,
    options: Options,
    steps: int | None,
    monitor: str | None = None,
    monitored: str = "val",
) -> lr_scheduler.LRScheduler:
    """Build a scheduler of torch.optim.lr_scheduler.

    Args:
        name: Its class.
        optimizer: The optimizer whose learning rate it sets.
        options: Its arguments; "auto" stands for `steps`. A `max_lr` or `base_lr` is that of the first parameter group;
            those of the others are in proportion to their rates.
        steps: Number of scheduler steps in the whole run; None if it is not known yet.
        monitor: What ReduceLROnPlateau goes by; None for the loss of the monitored split.
        monitored: The split evaluated after epochs: "val" or "test".

    Raises:
        ValueError: There is no such scheduler, it rejects its arguments, or it ends before the run.
    """
    given = {key: (steps or MANY) if value == "auto" else value for key, value in (options or {}).items()}
    cls = checked_class("scheduler", name, lr_scheduler.LRScheduler, given)
    check_monitor(name, monitor, monitored)
    if name == PLATEAU:
        given = with_mode(given, monitor)
    given = for_each_group(given, [float(group["lr"]) for group in optimizer.param_groups])
    scheduler: lr_scheduler.LRScheduler = construct("scheduler", cls, optimizer, given)
    if (total := getattr(scheduler, "total_steps", None)) and steps and total < steps:
        raise ValueError(f"{name} ends after {total} steps, the run takes {steps}. Give total_steps=auto.")
    return scheduler
