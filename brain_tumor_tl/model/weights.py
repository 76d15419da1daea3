"""Weights: a state dict in a file, found inside whatever a trainer saved around it, into a network."""

from __future__ import annotations

import logging
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision import models

log = logging.getLogger("brain_tumor_tl")
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # torchvision's own files say norm.1, not norm1

WAY_OUT = "Choose the network that it belongs to with model.name and model.options."
ALIKE = 0.85  # of the entries, with their shapes: a head for other classes is two of them


class TrainedHead(NamedTuple):
    """The head that a file of weights has.

    Attributes:
        classes: Name of each of its classes; empty if the file doesn't say, as only this package's checkpoints do.
        state: Its state dict; empty if the file has none.
    """

    classes: list[str]
    state: dict[str, Tensor]


def load_state_file(network: nn.Module, path: Path, head: str, unused: Sequence[str]) -> TrainedHead:
    """Load a state dict and return its head; entries of the head may be missing or different, all others must fit.

    Args:
        network: What the state dict is of.
        path: The file.
        head: Dotted name of the network's head.
        unused: Dotted names of parts of the network that are not needed.

    Raises:
        ValueError: The file has no state dict, or entries are missing, unexpected or of another shape.
    """
    content, expected = read_content(path), network.state_dict()
    trained, tensors = own_head(content, path), tensors_in(content)
    prefix = prefix_of(tensors, expected, path)
    state = below(prefix, tensors)
    aside = tuple(f"{name}." for name in (head, *unused))
    optional = {k for k in expected if k.startswith(aside) or k.endswith("num_batches_tracked")}
    fitting = {k: v for k, v in state.items() if k in expected and v.shape == expected[k].shape}
    problems = {
        "missing": [k for k in expected if k not in state and k not in optional],
        "unexpected": [k for k in state if k not in expected and not k.startswith(aside)],
        "of another shape": [k for k in state if k in expected and k not in fitting and k not in optional],
    }
    if any(problems.values()):
        found = "; ".join(f"{len(keys)} {kind} ({first_few(keys)})" for kind, keys in problems.items() if keys)
        owner = network_of(tensors, path)
        way_out = f"They look like those of {owner}: give model.name={owner}." if owner else WAY_OUT
        raise ValueError(f"The state dict {path} does not fit {type(network).__name__}: entries {found}. {way_out}")
    network.load_state_dict(fitting, strict=False)
    return trained or TrainedHead([], below(head + ".", state))


def network_of(tensors: Mapping[str, Tensor], path: Path) -> str | None:
    """Return the network of torchvision whose entries a file has, None if it is like none.

    Each network is built without memory, in 5 s for all of them; those that can't be, RegNets, are not recognised.
    """
    alike: dict[str, float] = {}
    for name in models.list_models(module=models):
        with suppress(NotImplementedError, RuntimeError, ValueError), torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the initial values, which there are none of
            expected = models.get_model(name, weights=None).state_dict()
            state = below(prefix_of(tensors, expected, path), tensors)
            same = sum(key in state and state[key].shape == value.shape for key, value in expected.items())
            alike[name] = same / max(len(expected), len(state), 1)
    best = max(alike, key=alike.__getitem__)
    return best if alike[best] >= ALIKE else None


def first_few(keys: list[str]) -> str:
    """Return the first names of many in one text."""
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def first_line(error: Exception) -> str:
    """Return an error's first line as a sentence, or its type if it has no text."""
    return (str(error).strip().partition("\n")[0] or type(error).__name__).rstrip(".") + "."


def read_content(path: Path) -> object:
    """Read what torch.save wrote, without running code from the file.

    Raises:
        ValueError: It can't be read, or has no tensors by name.
    """
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(
            f"Expected {path} to hold a state dict, it can't be read as one: {first_line(error)} "
            "Save the weights alone with torch.save(network.state_dict(), path)."
        ) from error
    if not tensors_in(content):
        raise ValueError(f"Expected {path} to hold a state dict, a table of tensors, got {type(content).__name__}.")
    return content


def tensors_in(content: object) -> dict[str, Tensor]:
    """Return the tensors of nested tables by dotted names, under torchvision's present names.

    >>> list(tensors_in({"epoch": 3, "state_dict": {"module.fc.bias": torch.zeros(4)}}))
    ['state_dict.module.fc.bias']
    """
    found: dict[str, Tensor] = {}
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, Tensor):
            found[OLD_DENSENET.sub(r"\1\2", str(key))] = value
        else:
            found |= {f"{key}.{name}": tensor for name, tensor in tensors_in(value).items()}
    return found


def prefix_of(names: Iterable[str], expected: Collection[str], path: Path) -> str:
    """Return what precedes a network's names in a file, such as `state_dict.module.`; empty if nothing does.

    Trainers save a network within other modules and tables. Its place is the one with most of its names, and of two
    with the same the one with the shorter name, since averaged weights have longer names than the weights.

    Raises:
        ValueError: The names don't tell which of two places to take.
    """
    places: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        places.update(
            "".join(f"{part}." for part in parts[:depth])
            for depth in range(len(parts))
            if ".".join(parts[depth:]) in expected
        )
    most = max(places.values(), default=0)
    if most < len(expected) / 2:  # of another network
        return ""
    best = sorted((place for place, count in places.items() if count == most), key=len)
    if len(best) > 1 and len(best[0]) == len(best[1]):
        raise ValueError(f"{path} has the network twice, as {best[0]}* and {best[1]}*: save one of them alone.")
    return best[0]


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def own_head(content: Any, path: Path) -> TrainedHead | None:
    """Return the head of what a file holds if it is one of this package's checkpoints, else None."""
    settings = content.get("hyper_parameters")
    classes = settings.get("classes") if isinstance(settings, Mapping) else None
    state = below("state_dict.head.", tensors_in(content))
    if not state or not isinstance(classes, list | tuple):
        return None
    require_backbone(content["state_dict"], str(path))
    return TrainedHead(list(classes), state)


def require_backbone(state: Iterable[str], source: str) -> None:
    """Raise a ValueError if a checkpoint has the head alone, as that of a frozen run before its end."""
    if not any(name.startswith("backbone.") for name in state):
        raise ValueError(f"{source} has a head without its backbone, since its run was cut: resume that run first.")


def take_trained_head(head: nn.Module, trained: TrainedHead, classes: list[str], source: str | None) -> None:
    """Load the head of a checkpoint if it is for the same classes in the same order, and log what was done."""
    sizes = {len(values) for values in trained.state.values()}
    shapes = [{key: value.shape for key, value in state.items()} for state in (trained.state, head.state_dict())]
    if trained.classes == classes and shapes[0] == shapes[1]:
        head.load_state_dict(trained.state)
        log.info(f"Head      from {source} too, which is for the same classes")
    elif trained.classes == classes:
        log.warning(f"The trained head in {source} is left out, and a new one is trained: it is of another kind.")
    elif trained.classes or sizes == {len(classes)}:
        whose = ", ".join(trained.classes) or "classes that the file doesn't name"
        log.warning(f"The trained head in {source} is left out, and a new one is trained: it is for {whose}.")
