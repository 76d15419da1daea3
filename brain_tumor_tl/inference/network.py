"""Network: a run's backbone and head from its checkpoint, fast enough for a single prediction."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from brain_tumor_tl.model.backbone import Cut, build_network
from brain_tumor_tl.model.fusion import fuse_norms
from brain_tumor_tl.model.weights import below, first_line, require_backbone


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a run's checkpoint, its tensors memory-mapped.

    Raises:
        ValueError: It is damaged or has the head alone.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"Expected the weights of a run in {path}, it can't be read: {first_line(error)}") from error
    if not isinstance(content, dict) or not content.keys() >= {"state_dict", "hyper_parameters"}:
        raise ValueError(f"Expected a checkpoint of brain-tumor-tl train in {path}, it holds something else.")
    require_backbone(content["state_dict"], str(path))
    return content


def rebuild(checkpoint: Mapping[str, Any]) -> Cut:
    """Return the network of a checkpoint, in eval mode and without gradients.

    Its layers are made without values, which takes a tenth of drawing random ones; a network that torchvision can't
    make so, as RegNet, gets random weights first.

    Args:
        checkpoint: What `read_checkpoint` returns.
    """
    settings, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    arguments = settings["name"], settings["classes"], settings["weights"], settings["options"]
    try:
        with torch.device("meta"):
            network = filled(build_network(*arguments, load_weights=False), state)
        if any(value.is_meta for part in network[:2] for value in (*part.parameters(), *part.buffers())):
            raise NotImplementedError("a buffer that no checkpoint has")
    except (NotImplementedError, ValueError):  # the second is what `build_network` makes of the first
        network = filled(build_network(*arguments, load_weights=False), state)
    for part in (network.backbone, network.head):
        part.requires_grad_(False).eval()
    return network


def filled(network: Cut, state: Mapping[str, Tensor]) -> Cut:
    """Give a network the tensors of a checkpoint's state dict; return it.

    Raises:
        ValueError: They don't fit, as those of a network that torchvision has changed since.
    """
    try:
        network.backbone.load_state_dict(below("backbone.", state), assign=True)
        network.head.load_state_dict(below("head.", state), assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"The weights don't fit the network that torchvision {torchvision.__version__} builds; use the version in "
            f"the run's environment.json. {error}"
        ) from error
    return network


def fast_backbone(backbone: nn.Module, precision: str) -> nn.Module:
    """Return a backbone that computes the same in less time on a processor.

    In float32, batch normalisation is fused into convolutions, which changes the features only by float32's rounding.
    In bfloat16 that would change the rounding of every map, so the weights of convolutions and linear layers are
    rounded once instead, which autocast does for each batch: the features are the same to the bit.

    Args:
        backbone: In eval mode, without gradients; it stays as it is.
        precision: What it computes in.
    """
    if precision != "bf16-mixed":
        return fuse_norms(backbone)
    rounded = copy.deepcopy(backbone)
    for layer in rounded.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.to(torch.bfloat16)
    return rounded
