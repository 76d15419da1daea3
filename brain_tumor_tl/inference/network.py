"""Network: a run's backbone and head from its checkpoint, fast enough for a single prediction."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from brain_tumor_tl.model.backbone import Cut, build_network
from brain_tumor_tl.model.fusion import fuse_norms
from brain_tumor_tl.model.weights import below, require_backbone

WAY_OUT = (
    "Put the file back if you have a copy, or train the run anew with force=true; its other files are not affected."
)
PREPROCESSING = ("image_size", "normalize", "intensity", "channels", "channels_last")  # that a checkpoint keeps
LARGEST = 8192  # pixels a side of a network's input; more could take all memory


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a run's checkpoint, its tensors memory-mapped.

    Raises:
        ValueError: It is damaged, no checkpoint of a run, or has the head alone.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises whatever it comes upon
        reason = "it is damaged" if path.stat().st_size else "it is empty"
        raise ValueError(f"Expected the weights of a run in {path}, {reason}. {WAY_OUT}") from error
    if problem := problem_of(content):
        raise ValueError(f"Expected a checkpoint of brain-tumor-tl train in {path}, {problem}. {WAY_OUT}")
    require_backbone(content["state_dict"], str(path))
    return content


def problem_of(content: Any) -> str | None:
    """Return why what a file holds is no checkpoint of a run, None if it is one."""
    if not isinstance(content, dict) or not content.keys() >= {"state_dict", "hyper_parameters"}:
        return "it holds something else"
    state, settings = content["state_dict"], content["hyper_parameters"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        return "its state_dict is no table of tensors"
    if not isinstance(settings, Mapping) or not settings.keys() >= {"name", "classes", "weights", "options"}:
        return "its hyper_parameters lack name, classes, weights or options of the network"
    classes, found = settings["classes"], settings.get("preprocessing")
    if not isinstance(classes, list | tuple) or not all(isinstance(name, str) for name in classes):
        return "its classes are no list of names"
    if found is not None and (not isinstance(found, Mapping) or set(found) != set(PREPROCESSING)):
        return f"its preprocessing has not {', '.join(PREPROCESSING)}"
    size = found["image_size"] if found else 1
    if not isinstance(size, int) or not 0 < size <= LARGEST:
        return f"its preprocessing has images of {size} pixels a side, and not 1 to {LARGEST}"
    return None


def rebuild(checkpoint: Mapping[str, Any]) -> Cut:
    """Return the network of a checkpoint, in eval mode and without gradients.

    Its layers are made without values, which takes a tenth of drawing random ones; a network that torchvision can't
    make so, as RegNet, gets random weights first.

    Args:
        checkpoint: What `read_checkpoint` returns.
    """
    settings, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    arguments = settings["name"], settings["classes"], settings["weights"], settings["options"], False
    head = settings.get("head")  # which runs of earlier versions lack
    try:
        with torch.device("meta"):
            network = filled(build_network(*arguments, head), state)
        if any(value.is_meta for part in network[:2] for value in (*part.parameters(), *part.buffers())):
            raise NotImplementedError("a buffer that no checkpoint has")
    except (NotImplementedError, ValueError):  # the second is what `build_network` makes of the first
        network = filled(build_network(*arguments, head), state)
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
