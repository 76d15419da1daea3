"""Backbone: any classification network of torchvision, with its weights, split into backbone and head.

There is no table of networks: the head is the last Linear or Conv2d with as many outputs as the network has classes.
"""

from __future__ import annotations

import hashlib
import inspect
import pickle
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import torch
from torch import Tensor, nn
from torchvision import models

from brain_tumor_tl.model.heads import Backbones, is_linear, make_head
from brain_tumor_tl.model.weights import TrainedHead, first_line, load_state_file, take_trained_head
from brain_tumor_tl.names import nearest

IMAGENET_CLASSES = 1000
AUXILIARY = ("aux1", "aux2", "AuxLogits")  # heads of GoogLeNet and Inception that are only used in training


class Cut(NamedTuple):
    """A network in two parts, `head(backbone(x))` being equal to the network's output.

    Attributes:
        backbone: Images `(N, 3, H, W)` to features `(N, D)`.
        head: Features `(N, D)` to logits `(N, classes)`.
        trained: The head of the file that the weights came from; None if they came from elsewhere.
    """

    backbone: nn.Module
    head: nn.Module
    trained: TrainedHead | None = None


def names() -> list[str]:
    """Return the name of every classification network of torchvision."""
    return [str(name) for name in models.list_models(module=models)]


def build(name: str, weights: str | None, options: Mapping[str, Any] | None = None, load: bool = True) -> Cut:
    """Build a network, load its weights and cut it at its head.

    Args:
        name: A classification network of torchvision.models.
        weights: A torchvision weight name, the path of a state dict, or None for random weights.
        options: Arguments of torchvision's builder.
        load: Whether to load the weights; False if a state dict of the same network will replace them.

    Raises:
        ValueError: The name, the weights or an option do not exist, or a state dict does not fit.
        ConnectionError: The weights can't be downloaded.
    """
    options = dict(options or {})
    if name not in names():
        raise ValueError(
            f"Expected `model.name` to be a classification network of torchvision, got {name!r}."
            f"{nearest(name, names())} All of them: {', '.join(names())}."
        )
    pretrained = pretrained_weights(name, weights) if load else None
    network, trained = construct(name, pretrained, options), None
    head = head_name(network, int(options.get("num_classes", IMAGENET_CLASSES)))
    if weights is not None and pretrained is None:
        if load:
            trained = load_state_file(network, Path(weights).expanduser(), head, auxiliary_heads(network))
        if hasattr(network, "transform_input") and "transform_input" not in options:
            # torchvision sets it with its own weights of GoogLeNet and Inception, which were trained on -1..1.
            setattr(network, "transform_input", True)  # noqa: B010 - nn.Module's types know submodules and tensors only
    for auxiliary in auxiliary_heads(network):
        setattr(network, "aux_logits", False)  # noqa: B010 - as above; forward then returns logits alone
        setattr(network, auxiliary, None)
    return cut(network, head)._replace(trained=trained)


def build_network(
    name: str,
    classes: Sequence[str],
    weights: str | None,
    options: Mapping[str, Any] | None = None,
    load_weights: bool = True,
    head: Mapping[str, Any] | None = None,
) -> Cut:
    """Build a torchvision network with a new head, or that of a checkpoint for the same classes.

    All random weights of a run are drawn here, in this order: those of the network, then those of the new head.

    Args:
        name: Any classification network of torchvision.models.
        classes: Name of each class.
        weights: A torchvision weight name, the path of a state dict or checkpoint, or None for random weights.
        options: Arguments of torchvision's builder.
        load_weights: Whether to load the weights; False if a state dict of the same network will replace them.
        head: The settings of `head.`; None for a linear one.
    """
    network = build(name, weights, options, load_weights)
    if head is None or is_linear(head):
        made = Cut(network.backbone, new_head(network.head, len(classes)))
    else:
        further = [build(**entry, load=load_weights) for entry in head["backbones"]]
        backbones, widths = zip(*map(with_features, [network, *further]), strict=True)
        backbone = Backbones(backbones) if further else backbones[0]
        made = Cut(backbone, make_head(head, sum(widths), len(classes)))
    if network.trained is not None:
        take_trained_head(made.head, network.trained, list(classes), weights)
    return made


def with_features(network: Cut) -> tuple[nn.Module, int]:
    """Return a backbone and how many features it has; of a map, which SqueezeNet's head takes, they are the means."""
    if isinstance(network.head, nn.Linear):
        return network.backbone, network.head.in_features
    unflatten, convolution, *_ = network.head.children()
    means = nn.Sequential(unflatten, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict(maps=network.backbone, means=means)), int(convolution.in_channels)  # type: ignore[arg-type]  # a number


def pretrained_weights(name: str, weights: str | None) -> Any:
    """Return torchvision's weights of that name, or None if `weights` is None or an existing file.

    Raises:
        ValueError: `weights` is neither the name of weights of this network nor a file.
    """
    if weights is None or Path(weights).expanduser().is_file():
        return None
    known = models.get_model_weights(name)
    if weights in known.__members__:
        return known[weights]
    is_path = "/" in weights or Path(weights).suffix in (".pth", ".pt", ".ckpt", ".bin")
    raise ValueError(
        f"Expected `model.weights` to be one of {', '.join(known.__members__)}, the path of a state dict, or null for "
        f"random weights, got {f'{weights}, which is no file' if is_path else repr(weights)}."
        f"{nearest(weights, known.__members__)}"
    )


def construct(name: str, pretrained: Any, options: dict[str, Any]) -> nn.Module:
    """Call torchvision's builder, with clear errors for wrong options and for weights that can't be downloaded."""
    builder = models.get_model_builder(name)
    try:
        with warnings.catch_warnings():
            # GoogLeNet and Inception announce a change of their initialization, which is of no concern here.
            warnings.filterwarnings("ignore", message="The default weight initialization", category=FutureWarning)
            network: nn.Module = builder(weights=pretrained, progress=True, **options)
    except (URLError, ConnectionError, TimeoutError, EOFError, pickle.UnpicklingError) as error:
        raise ConnectionError(missing_weights_message(name, pretrained, error)) from error
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        if pretrained is not None and ("hash value" in str(error) or "zip archive" in str(error)):
            raise ConnectionError(missing_weights_message(name, pretrained, error)) from error
        raise ValueError(
            f"torchvision can't build {name} with model.options={options}: {error}. "
            f"Its options are {', '.join(builder_options(builder))}."
        ) from error
    return network


def builder_options(builder: Any) -> list[str]:
    """Return the possible `model.options`: the named arguments of the class that a builder returns."""
    returned = inspect.signature(builder).return_annotation
    cls = getattr(models, returned, None) if isinstance(returned, str) else returned
    if not inspect.isclass(cls):
        return ["those in torchvision's documentation"]
    return [name for name in inspect.signature(cls).parameters if name not in ("args", "kwargs")]


def missing_weights_message(name: str, pretrained: Any, error: Exception) -> str:
    """Return a message that weights could not be downloaded, with the alternatives."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / str(pretrained.url).rsplit("/", 1)[-1]
    reason = str(getattr(error, "reason", error)).rstrip(".")
    return (
        f"The weights {pretrained.name} of {name} can't be downloaded from {pretrained.url} ({reason}): fetch that "
        f"file on a machine with internet access and save it as {file}, or give model.weights=PATH of a state dict, or "
        "model.weights=null to start from random weights."
    )


def head_name(network: nn.Module, classes: int) -> str:
    """Return the dotted name of the last Linear or Conv2d with `classes` outputs.

    Raises:
        ValueError: There is none.
    """
    layers = {str(name): m.weight for name, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    found = [name for name, weight in layers.items() if len(weight) == classes]  # a row of weights for each output
    if not found:
        raise ValueError(f"Expected a last layer with {classes} outputs in {type(network).__name__}, found none.")
    return found[-1]


def auxiliary_heads(network: nn.Module) -> list[str]:
    """Return the names of a network's auxiliary heads, which GoogLeNet and Inception have."""
    return [name for name in AUXILIARY if hasattr(network, name)]


def cut(network: nn.Module, head: str) -> Cut:
    """Take the head out of a network.

    A Linear is replaced by the identity. A 1 x 1 convolution takes along the layers that follow it in its Sequential
    (ReLU and global pooling in SqueezeNet), so that the features are what the network flattens there, the whole map
    `(N, C * H * W)`, which the head unflattens.

    Raises:
        ValueError: The head is a convolution anywhere else.
    """
    place, _, attribute = head.rpartition(".")
    parent, layer = network.get_submodule(place), network.get_submodule(head)
    if isinstance(layer, nn.Linear):
        setattr(parent, attribute, nn.Identity())
        return Cut(network, layer)
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1) or not isinstance(parent, nn.Sequential):
        raise ValueError(f"Expected the head {head} to be a Linear or a 1 x 1 Conv2d in a Sequential, got {layer}.")
    position = list(dict(parent.named_children())).index(attribute)
    tail = list(parent.children())[position:]
    del parent[position:]
    # The order of positions in the map does not matter to a 1 x 1 convolution and a global pooling.
    return Cut(network, nn.Sequential(nn.Unflatten(1, (layer.in_channels, -1, 1)), *tail, nn.Flatten()))


def new_head(head: nn.Module, classes: int) -> nn.Module:
    """Return a head like `head` with new weights and `classes` outputs; layers without weights are shared."""
    if isinstance(head, nn.Linear):
        return nn.Linear(head.in_features, classes, bias=head.bias is not None)
    if isinstance(head, nn.Conv2d):
        return nn.Conv2d(head.in_channels, classes, kernel_size=1, bias=head.bias is not None)
    return nn.Sequential(*(new_head(m, classes) if isinstance(m, nn.Conv2d) else m for m in head.children()))


def feature_count(name: str, backbone: nn.Module, image_size: int) -> int:
    """Return the number of features for images of a size, without computing any.

    Raises:
        ValueError: The network does not take images of that size.
    """
    try:
        features = forward_without_values(backbone, 2, image_size, training=False)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        least = next(iter(models.get_model_weights(name))).meta.get("min_size", (224, 224))[0]
        raise ValueError(
            f"{name} does not take images of {image_size} x {image_size} pixels: {first_line(error)} "
            f"Its weights require {least} pixels or more: data.image_size={least}."
        ) from error
    return int(features.shape[1])


def trains_on_one_image(backbone: nn.Module, image_size: int) -> bool:
    """Tell whether the network can train on a batch of one image, without computing anything.

    Where a map has shrunk to 1 x 1, one image gives BatchNorm a single value, which has no variance.
    """
    try:
        forward_without_values(backbone, 1, image_size, training=True)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        return False
    return True


def forward_without_values(backbone: nn.Module, images: int, image_size: int, training: bool) -> Tensor:
    """Return features of the right shape, computing none, from a network that stays in its mode."""
    state = {k: v.to("meta") for k, v in [*backbone.named_parameters(), *backbone.named_buffers()]}
    mode, empty = backbone.training, torch.empty(images, 3, image_size, image_size, device="meta")
    try:
        with torch.no_grad():
            features: Tensor = torch.func.functional_call(backbone.train(training), state, (empty,))
    finally:
        backbone.train(mode)
    return features


def state_digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers, including their names, as hexadecimal text."""
    return tensors_digest(module.state_dict())


def tensors_digest(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the tensors of a state dict, including their names, as hexadecimal text."""
    total = hashlib.sha256()
    for name, value in sorted(state.items()):
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
