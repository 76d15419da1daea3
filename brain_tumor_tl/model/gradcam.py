"""Grad-CAM: what each place of an image adds to a class's logit, by a convolutional network's last feature map.

Selvaraju et al. 2017 (ICCV, doi:10.1109/ICCV.2017.74). The map is found by running the network, not by a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

Hook = Callable[[nn.Module, Any, Any], Any]


def last_map_layer(backbone: nn.Module, inputs: Tensor) -> nn.Module:
    """Return the layer whose output is a network's last feature map with height and width above 1.

    All that the features know of an image passes through this map: a map of one branch alone is not taken.

    Args:
        backbone: In eval mode; its parameters have no gradients.
        inputs: Images `(B, 3, H, W)` to run it with; one is enough.

    Raises:
        ValueError: The network computes with tokens, or its last map has a single position.
    """
    if not any(isinstance(layer, nn.Conv2d) and overlaps(layer) for layer in backbone.modules()):
        raise ValueError(token_message(backbone))
    found: list[tuple[nn.Module, int]] = []

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        is_map = isinstance(output, Tensor) and output.ndim > 2 and min(output.shape[2:]) > 1
        if is_map and not isinstance(layer, nn.AdaptiveAvgPool2d):  # VGG's has a fixed size, not the network's own
            found.append((layer, output.ndim))

    with torch.no_grad(), hooked(backbone.modules(), note):
        backbone(inputs)
    if found and found[-1][1] == 3:
        raise ValueError(token_message(backbone))
    for layer, _ in reversed(found):
        if is_only_path(backbone, layer, inputs):
            return layer
    side = "x".join(map(str, inputs.shape[2:]))
    raise ValueError(
        f"Expected a feature map with height and width above 1 in {type(backbone).__name__}, found none for images of "
        f"{side} pixels. Train with larger images: data.image_size."
    )


def overlaps(layer: nn.Conv2d) -> bool:
    """Tell whether a convolution sees neighbouring pixels together; that of a transformer cuts an image into patches.

    >>> overlaps(nn.Conv2d(3, 8, kernel_size=3, stride=2)), overlaps(nn.Conv2d(3, 8, kernel_size=16, stride=16))
    (True, False)
    """
    return max(layer.kernel_size) > max(layer.stride)


def token_message(backbone: nn.Module) -> str:
    """Return why Grad-CAM refuses a transformer."""
    return (
        f"Grad-CAM needs a convolutional feature map, and {type(backbone).__name__} computes with tokens. Explain a "
        "run of a convolutional network, such as model=resnet18."
    )


def is_only_path(backbone: nn.Module, layer: nn.Module, inputs: Tensor) -> bool:
    """Tell whether the features depend on the inputs through one layer's output alone: cut there, no gradient is left.

    Args:
        backbone: In eval mode; its parameters have no gradients.
        layer: One of its layers.
        inputs: Images `(B, 3, H, W)`.
    """

    def cut(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return output.detach().clone()

    with torch.inference_mode(False), torch.enable_grad(), hooked([layer], cut):
        features: Tensor = backbone(inputs.detach().clone().requires_grad_())
    return not features.requires_grad


@contextmanager
def hooked(layers: Iterable[nn.Module], hook: Hook) -> Iterator[None]:
    """Register a forward hook on layers while the context lasts, for passes of this thread alone."""
    mine = get_ident()

    def hook_of_mine(layer: nn.Module, inputs: Any, output: Any) -> Any:
        return hook(layer, inputs, output) if get_ident() == mine else None

    handles = [layer.register_forward_hook(hook_of_mine) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def map_and_logits(backbone: nn.Module, head: nn.Module, layer: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return a layer's feature map `(B, C, h, w)` and the logits `(B, K)` that follow from it, with their gradients.

    The gradients reach from the logits to the map and no further, so only the layers after it keep their activations.
    Those layers get a copy, since torchvision's ReLUs and DenseNet change their input in place.

    Args:
        backbone: Images to features `(B, D)`, in eval mode; its parameters have no gradients.
        head: Features to logits.
        layer: What `last_map_layer` returns.
        inputs: Images `(B, 3, H, W)`, float32.
    """
    kept: list[Tensor] = []

    def keep(_layer: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        kept.append(output.detach().clone().requires_grad_())
        return kept[-1].clone()

    with torch.inference_mode(False), torch.enable_grad(), hooked([layer], keep):
        logits: Tensor = head(backbone(inputs.detach().clone()))
    return kept[-1], logits


def class_maps(feature_map: Tensor, logits: Tensor, classes: Sequence[int]) -> Tensor:
    """Return a map for each of some classes `(B, len(classes), h, w)`: what a position adds to the class's logit.

    Channels are weighted by their mean gradient (equation 1 of the paper). Grad-CAM is the positive part (equation 2).
    If mean pooling and a linear head follow the map, as in ResNet, a class's values sum to its logit without the bias;
    so maps of several classes have one unit, and can be compared.

    Args:
        feature_map: `(B, C, h, w)`, from `map_and_logits`.
        logits: `(B, K)`, from the same call.
        classes: Positions of the classes, 0 to K - 1.
    """
    values = feature_map.detach()
    maps = []
    for label in classes:
        (gradient,) = torch.autograd.grad(logits[:, label].sum(), feature_map, retain_graph=True)
        maps.append((gradient.mean((2, 3), keepdim=True) * values).sum(1))
    return torch.stack(maps, 1)
