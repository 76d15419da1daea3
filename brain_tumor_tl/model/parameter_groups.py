"""Parameter groups: which layers learn at which rate, the head at the optimizer's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

from brain_tumor_tl.names import nearest

Factors = float | Mapping[str, float]
ABSOLUTE = ("max_lr", "base_lr", "swa_lr")  # arguments of schedulers that replace an optimizer's rate


def parameter_groups(backbone: nn.Module, head: nn.Module, lr: float, factors: Factors = 1.0) -> list[dict[str, Any]]:
    """Return what learns as an optimizer takes it: the head first, whose rate is the one that is recorded.

    Args:
        backbone: Its layers learn at `lr` times a factor; frozen ones are left out.
        head: Learns at `lr`.
        lr: Learning rate.
        factors: One for the whole backbone, or by names of its modules: each counts from that module on, in the
            order of the parameters, up to the next one. With 1.0 all layers are one group, as without factors.

    Raises:
        ValueError: There is no such module, it has no parameters, or layers that learn come before the first one.
    """
    if factors == 1.0:
        return [{"params": learning([*backbone.parameters(), *head.parameters()])}]
    values = list(backbone.named_parameters())
    chosen: Mapping[str, float] = factors if isinstance(factors, Mapping) else {"": factors}
    starts = first_parameters(backbone, factors) if isinstance(factors, Mapping) else {"": 0}
    order = sorted(starts, key=starts.__getitem__)
    if early := [name for name, value in values[: starts[order[0]]] if value.requires_grad]:
        raise ValueError(
            f"Expected a factor for every layer that learns, but {early[0]} comes before {order[0]}. Add one for "
            f"{early[0].split('.')[0]} to optimizer.backbone_lr_factor."
        )
    ends = [*(starts[name] for name in order[1:]), len(values)]
    groups = [{"params": learning(head.parameters()), "lr": lr}]
    for name, end in zip(order, ends, strict=True):
        layers = [value for _, value in values[starts[name] : end]]
        groups.append({"params": learning(layers), "lr": lr * chosen[name]})
    return [group for group in groups if group["params"]]


def learning(parameters: Any) -> list[nn.Parameter]:
    """Return the parameters that are not frozen."""
    return [parameter for parameter in parameters if parameter.requires_grad]


def first_parameters(backbone: nn.Module, places: Iterable[str]) -> dict[str, int]:
    """Return the number, among a backbone's parameters, of the first one of each of some modules.

    Raises:
        ValueError: There is no such module, it has no parameters, or two begin with the same one.
    """
    names = [parameter for parameter, _ in backbone.named_parameters()]
    found: dict[str, int] = {}
    for place in places:
        within = [number for number, name in enumerate(names) if name.startswith(f"{place}.")]
        if not within:
            raise unknown_place(place, backbone, names)
        if same := [other for other, number in found.items() if number == within[0]]:
            raise ValueError(
                f"Expected modules that begin at different layers in `optimizer.backbone_lr_factor`, got {same[0]} and "
                f"{place}. Leave out one of them."
            )
        found[place] = within[0]
    return found


def unknown_place(name: str, backbone: nn.Module, names: Sequence[str]) -> ValueError:
    """Return the error of a module that doesn't exist or has no parameters."""
    modules = list(dict.fromkeys(parameter.rpartition(".")[0] for parameter in names))
    parts = {".".join(module.split(".")[:depth]) for module in modules for depth in range(1, 5)}
    tops = list(dict.fromkeys(module.split(".")[0] for module in modules))
    what = "has no parameters" if name in dict(backbone.named_modules()) else "is no module of this backbone"
    return ValueError(
        f"`optimizer.backbone_lr_factor` names {name!r}, which {what}.{nearest(name, sorted(parts))} "
        f"Its outer modules are {', '.join(tops)}."
    )


def factors_in_use(factors: Factors) -> tuple[float, ...]:
    """Return the factor of each group, the head's first; a single one if all layers learn at the same rate.

    >>> factors_in_use(1.0), factors_in_use(0.1), factors_in_use({"layer1": 0.1, "layer4": 0.3})
    ((1.0,), (1.0, 0.1), (1.0, 0.1, 0.3))
    """
    if factors == 1.0:
        return (1.0,)
    return (1.0, *(factors.values() if isinstance(factors, Mapping) else [factors]))


def for_each_group(options: Mapping[str, Any], rates: Sequence[float]) -> dict[str, Any]:
    """Return a scheduler's options with every rate that replaces the optimizer's given for each group, in proportion.

    >>> for_each_group({"max_lr": 0.5, "pct_start": 0.3}, [1.0, 0.5])
    {'max_lr': [0.5, 0.25], 'pct_start': 0.3}
    """
    if len(rates) == 1:
        return dict(options)
    return {
        key: [value * rate / rates[0] for rate in rates]
        if key in ABSOLUTE and isinstance(value, int | float)
        else value
        for key, value in options.items()
    }
