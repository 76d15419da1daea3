"""Grad-CAM: what each place of an image adds to a class's logit, by a convolutional network's last feature map.

Selvaraju et al. 2017 (ICCV, doi:10.1109/ICCV.2017.74). The map is found by running the network, not by a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain_tumor_tl.model.heads import Backbones, NeighbourHead

Hook = Callable[[nn.Module, Any, Any], Any]


class MapLayer(NamedTuple):
    """The layer of a network's last feature map, and where its cells are in an image.

    Attributes:
        layer: The layer.
        first: The pixel at the centre of the first cell's receptive field, in each direction.
        step: Pixels from one cell to the next.
    """

    layer: nn.Module
    first: float
    step: float


def explained_layer(backbone: nn.Module, head: nn.Module, inputs: Tensor) -> MapLayer:
    """Return the layer whose map explains what a head makes of a backbone's features; see `last_map_layer`.

    Raises:
        ValueError: There is no such layer, there are several backbones, or the head has no gradient.
    """
    if isinstance(backbone, Backbones):
        raise ValueError(
            f"Grad-CAM follows one backbone, and this run has the features of {len(backbone.parts)}. Explain a run "
            "without head.backbones."
        )
    if isinstance(head, NeighbourHead):
        raise ValueError(
            "Grad-CAM needs the gradient of a class's logit, and a count of the nearest images has none. Explain a run "
            "with another head, such as head=svm."
        )
    return last_map_layer(backbone, inputs)


def last_map_layer(backbone: nn.Module, inputs: Tensor) -> MapLayer:
    """Return the layer whose output is a network's last feature map with height and width above 1.

    All that the features know of an image passes through this map: a map of one branch alone is not taken.

    Args:
        backbone: In eval mode; its parameters have no gradients.
        inputs: Square images `(B, 3, S, S)` to run it with; one is enough.

    Raises:
        ValueError: The network computes with tokens, or its last map has a single position.
    """
    if not any(isinstance(layer, nn.Conv2d) and overlaps(layer) for layer in backbone.modules()):
        raise ValueError(token_message(backbone))
    found: list[tuple[nn.Module, torch.Size]] = []
    places = {inputs.shape[-1]: (0.0, 1.0)}  # first pixel and step, by the size of a map

    def note(layer: nn.Module, given: Any, output: Any) -> None:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and (place := places.get(given[0].shape[-1])):
            places.setdefault(output.shape[-1], cell_places(layer, *place))
        is_map = isinstance(output, Tensor) and output.ndim > 2 and min(output.shape[2:]) > 1
        if is_map and not isinstance(layer, nn.AdaptiveAvgPool2d):  # VGG's has a fixed size, not the network's own
            found.append((layer, output.shape))

    with torch.no_grad(), hooked(backbone.modules(), note):
        backbone(inputs)
    if found and len(found[-1][1]) == 3:
        raise ValueError(token_message(backbone))
    for layer, shape in reversed(found):
        if is_only_path(backbone, layer, inputs):
            return MapLayer(layer, *places[shape[-1]])
    side = "x".join(map(str, inputs.shape[2:]))
    raise ValueError(
        f"Expected a feature map with height and width above 1 in {type(backbone).__name__}, found none for images of "
        f"{side} pixels. Train with larger images: data.image_size."
    )


def cell_places(layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, first: float, step: float) -> tuple[float, float]:
    """Return where the cells of a layer's output are, from where those of its input are.

    Args:
        layer: A convolution or pooling layer.
        first: The pixel at the centre of the input's first cell.
        step: Pixels from one cell of the input to the next.

    >>> cell_places(nn.Conv2d(3, 8, kernel_size=3, stride=2, padding=1), 0, 1)
    (0.0, 2.0)
    >>> cell_places(nn.MaxPool2d(2), 0, 1)
    (0.5, 2.0)
    """
    values: list[Any] = [layer.kernel_size, layer.stride, layer.padding, getattr(layer, "dilation", 1)]
    size, stride, padding, dilation = (value[-1] if isinstance(value, tuple) else value for value in values)
    return first + step * ((size - 1) * dilation / 2 - padding), float(step * stride)


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
        with torch.inference_mode(False), torch.enable_grad():
            (gradient,) = torch.autograd.grad(logits[:, label].sum(), feature_map, retain_graph=True)
        maps.append((gradient.mean((2, 3), keepdim=True) * values).sum(1))
    return torch.stack(maps, 1)


def over_image(maps: Tensor, place: MapLayer, size: int) -> Tensor:
    """Return maps `(B, T, size, size)`, interpolated between cells that lie where their receptive fields have centres.

    Stretched over the whole image instead, as is usual, a map of ResNet lies half a cell too far right and low: the
    centres of its cells are pixels 0, 32, ... 192 of 224, and not 15.5, 47.5, ... 207.5.

    Args:
        maps: `(B, T, h, w)`, h and w above 1.
        place: Where their cells are.
        size: Height and width of the images.
    """
    pixels = torch.arange(size, device=maps.device, dtype=maps.dtype)
    down, right = (2 * (pixels - place.first) / (place.step * (cells - 1)) - 1 for cells in maps.shape[2:])
    grid = torch.stack(torch.meshgrid(right, down, indexing="xy"), -1).expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=True)
