from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain_tumor_tl.model.backbone import Cut, build_network
from brain_tumor_tl.model.gradcam import (
    MapLayer,
    class_maps,
    hooked,
    is_only_path,
    last_map_layer,
    map_and_logits,
    over_image,
)

CLASSES = ("no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor")


def network_of(name: str, images: Tensor) -> Cut:
    """Return a network with random weights whose norms know the statistics of some images, so that no signal fades."""
    torch.manual_seed(0)
    network = build_network(name, CLASSES, None, {})
    for layer in network.backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # running statistics are then those of the images
    with torch.no_grad():
        network.backbone.train()(images)
    for part in network[:2]:
        part.requires_grad_(False).eval()
    return network


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


# Each network's forward pass, written out again: images to the last map, and the map to features.
Pass = Callable[[Any, Tensor], Tensor]


def resnet_map(n: Any, x: Tensor) -> Tensor:
    return cast(Tensor, n.layer4(n.layer3(n.layer2(n.layer1(n.maxpool(n.relu(n.bn1(n.conv1(x)))))))))


def googlenet_map(n: Any, x: Tensor) -> Tensor:
    x = n.maxpool2(n.conv3(n.conv2(n.maxpool1(n.conv1(x)))))
    x = n.maxpool3(n.inception3b(n.inception3a(x)))
    x = n.maxpool4(n.inception4e(n.inception4d(n.inception4c(n.inception4b(n.inception4a(x))))))
    return cast(Tensor, n.inception5b(n.inception5a(x)))


def shufflenet_map(n: Any, x: Tensor) -> Tensor:
    return cast(Tensor, n.conv5(n.stage4(n.stage3(n.stage2(n.maxpool(n.conv1(x)))))))


def features_map(n: Any, x: Tensor) -> Tensor:
    return cast(Tensor, n.features(x))


def mean_pooled(_: Any, x: Tensor) -> Tensor:
    return x.mean((2, 3))


PASSES: dict[str, tuple[Pass, Pass]] = {
    "resnet18": (resnet_map, mean_pooled),
    "resnet50": (resnet_map, mean_pooled),
    "vgg16": (features_map, lambda n, x: n.classifier(F.adaptive_avg_pool2d(x, 7).flatten(1))),
    "densenet121": (features_map, lambda n, x: x.relu().mean((2, 3))),
    "mobilenet_v2": (features_map, mean_pooled),
    "googlenet": (googlenet_map, mean_pooled),
    "shufflenet_v2_x1_0": (shufflenet_map, mean_pooled),
    "squeezenet1_1": (features_map, lambda n, x: x.flatten(1)),
    "efficientnet_b0": (features_map, mean_pooled),
    "convnext_tiny": (features_map, lambda n, x: n.classifier(x.mean((2, 3), keepdim=True))),
    "regnet_y_400mf": (lambda n, x: n.trunk_output(n.stem(x)), mean_pooled),
    "mnasnet0_5": (lambda n, x: n.layers(x), mean_pooled),
}


def without_in_place(network: Cut) -> Cut:
    """Return a copy of a network in which no layer changes its input."""
    network = copy.deepcopy(network)
    for layer in network.backbone.modules():
        if hasattr(layer, "inplace"):
            setattr(layer, "inplace", False)  # noqa: B010 - nn.Module's types know submodules and tensors only
    return network


def reference_map(network: Cut, name: str, image: Tensor, label: int) -> np.ndarray[Any, Any]:
    """Return equations 1 and 2 of the paper without the ReLU for one image, by `backward` through the whole network."""
    to_map, to_features = PASSES[name]
    feature_map = to_map(network.backbone, image[None].requires_grad_())
    feature_map.retain_grad()
    network.head(to_features(network.backbone, feature_map))[0, label].backward()
    assert feature_map.grad is not None
    gradient, values = feature_map.grad[0].double().numpy(), feature_map.detach()[0].double().numpy()
    result = np.zeros(values.shape[1:])
    for channel in range(len(values)):
        result += gradient[channel].mean() * values[channel]
    return result


@pytest.mark.parametrize("name", PASSES)
def test_class_maps__equal_a_pass_written_out(name: str, images: Tensor) -> None:
    network = network_of(name, images)

    layer = last_map_layer(network.backbone, images[:1]).layer
    feature_map, logits = map_and_logits(network.backbone, network.head, layer, images)
    maps = class_maps(feature_map, logits, [3, 1]).numpy()

    plain = without_in_place(network)
    assert maps.shape == (3, 2, *feature_map.shape[2:])
    torch.testing.assert_close(logits.detach(), network.head(network.backbone(images)))
    for image in range(3):
        for place, label in enumerate([3, 1]):
            expected = reference_map(plain, name, images[image].clone(), label)
            assert np.abs(expected).max() > 0
            np.testing.assert_allclose(maps[image, place], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x1_0", "regnet_y_400mf"])
def test_class_maps__sum_to_the_logit_without_the_bias(name: str, images: Tensor) -> None:
    network = network_of(name, images)
    layer = last_map_layer(network.backbone, images[:1]).layer
    feature_map, logits = map_and_logits(network.backbone, network.head, layer, images)

    sums = class_maps(feature_map, logits, range(4)).sum((2, 3))

    bias = network.head.get_parameter("bias")
    torch.testing.assert_close(sums, (logits - bias).detach(), rtol=1e-4, atol=1e-4)


def test_map_and_logits__leaves_nothing_behind(images: Tensor) -> None:
    network = network_of("densenet121", images)  # changes its map in place
    before = copy.deepcopy(network.backbone.state_dict())
    with torch.inference_mode():
        inputs = images * 1.0  # which autograd refuses as it is
        layer = last_map_layer(network.backbone, inputs[:1]).layer
        feature_map, logits = map_and_logits(network.backbone, network.head, layer, inputs)

    assert class_maps(feature_map, logits, [0]).isfinite().all()
    assert not any(layer._forward_hooks for layer in network.backbone.modules())
    after = network.backbone.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(p.grad is None and not p.requires_grad for p in network.backbone.parameters())


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("resnet18", 224, (512, 7, 7)),
        ("alexnet", 256, (256, 7, 7)),  # not the 6 x 6 of its adaptive pooling, as in VGG
        ("maxvit_t", 224, (512, 7, 7)),  # attention between convolutions
        ("shufflenet_v2_x0_5", 32, (96, 2, 2)),  # of stage 3: the last map above 1 x 1 is in one branch of stage 4
        ("inception_v3", 75, (768, 3, 3)),  # likewise
    ],
)
def test_last_map_layer__is_found_by_running(name: str, size: int, shape: tuple[int, ...]) -> None:
    backbone = build_network(name, CLASSES, None, {}).backbone.requires_grad_(False).eval()
    inputs = torch.rand(1, 3, size, size)

    layer = last_map_layer(backbone, inputs).layer

    outputs: list[Tensor] = []
    layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
    backbone(inputs)
    assert tuple(outputs[-1].shape) == (1, *shape)
    assert is_only_path(backbone, layer, inputs)


@pytest.mark.parametrize("name", ["vit_b_32", "swin_t"])
def test_last_map_layer__refuses_tokens(name: str) -> None:
    backbone = build_network(name, CLASSES, None, {}).backbone.requires_grad_(False).eval()

    with pytest.raises(ValueError, match=r"computes with tokens\. Explain a run of a convolutional network"):
        last_map_layer(backbone, torch.rand(1, 3, 224, 224))


def test_last_map_layer__refuses_tokens_after_convolutions() -> None:
    class Stem(nn.Module):
        """As torchvision's ViT with `conv_stem_configs`."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, 2)
            self.mix = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.mix(self.stem(x).flatten(2).transpose(1, 2)).mean(1))

    with pytest.raises(ValueError, match="Stem computes with tokens"):
        last_map_layer(Stem().requires_grad_(False).eval(), torch.rand(1, 3, 16, 16))


def test_last_map_layer__refuses_a_network_without_a_map() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).requires_grad_(False).eval()

    with pytest.raises(ValueError, match=r"found none for images of 3x3 pixels\. Train with larger images"):
        last_map_layer(backbone, torch.rand(1, 3, 3, 3))


def test_is_only_path__false_beside_a_shortcut() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, (x + self.branch(x)).mean((2, 3)))

    network = Shortcut().requires_grad_(False).eval()
    assert not is_only_path(network, network.branch, torch.rand(1, 3, 8, 8))
    assert is_only_path(nn.Sequential(network.branch), network.branch, torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 512), ("alexnet", 320), ("squeezenet1_1", 320), ("mobilenet_v2", 576)]
)
def test_last_map_layer__places_cells_at_the_centres_of_receptive_fields(name: str, size: int) -> None:
    torch.manual_seed(0)
    backbone = build_network(name, CLASSES, None, {}).backbone.double().requires_grad_(False).eval()
    inputs = torch.rand(1, 3, size, size, dtype=torch.double)
    found = last_map_layer(backbone, inputs)

    outputs: list[Tensor] = []
    found.layer.register_forward_hook(lambda _layer, _inputs, output: outputs.append(output))
    backbone(inputs.requires_grad_())
    cell = outputs[-1].shape[-1] // 2  # whose receptive field is inside the image
    (gradient,) = torch.autograd.grad(outputs[-1][0, :, cell, cell].sum(), inputs)

    seen = gradient.abs().sum((0, 1, 2)).nonzero()[:, 0]
    assert 0 < seen[0] < seen[-1] < size - 1
    assert float(seen[0] + seen[-1]) / 2 == found.first + found.step * cell


@pytest.mark.parametrize(
    ("name", "first"),
    [("densenet121", 14.0), ("googlenet", 22.0), ("vgg11", 15.5), ("efficientnet_b0", 0.0), ("regnet_y_400mf", 0.0)],
)
def test_last_map_layer__places_cells_32_pixels_apart(name: str, first: float) -> None:
    # DenseNet's transitions average 2 x 2 cells, which moves the centre by 2 + 4 + 8 pixels; GoogLeNet's 3 x 3 pools
    # have no padding before them, 2 + 4 + 8, and its last is 2 x 2, 8. Squeeze-and-excitation pools globally beside.
    backbone = build_network(name, CLASSES, None, {}).backbone.requires_grad_(False).eval()

    assert last_map_layer(backbone, torch.rand(1, 3, 224, 224))[1:] == (first, 32.0)


def test_over_image__meets_the_cells_at_their_pixels() -> None:
    maps = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    whole = over_image(maps, MapLayer(nn.Identity(), first=3.0, step=5.0), 24)

    assert whole.shape == (2, 3, 24, 24)
    torch.testing.assert_close(whole[:, :, 3:19:5, 3:19:5], maps)
    torch.testing.assert_close(whole[0, 0, 3, 4], 0.8 * maps[0, 0, 0, 0] + 0.2 * maps[0, 0, 0, 1])
    torch.testing.assert_close(whole[:, :, :4, :4], maps[:, :, :1, :1].expand(-1, -1, 4, 4))  # before the first cell
    torch.testing.assert_close(whole[1, 2, 23, 18], maps[1, 2, 3, 3])  # below the last


def test_hooked__leaves_other_threads_alone() -> None:
    layer, seen = nn.Identity(), []

    with hooked([layer], lambda _layer, _inputs, output: seen.append(output)), ThreadPoolExecutor(1) as pool:
        layer("mine")
        pool.submit(layer, "of another thread").result()

    assert seen == ["mine"]
    assert not layer._forward_hooks
