"""Parts: cut anywhere, both parts compute what the whole backbone does, in either mode."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from brain_tumor_tl.model.backbone import build, names
from brain_tumor_tl.model.parts import Place, divide, find_place, outline, places

PLACES = {  # the issue's, by torchvision's names
    "resnet18": "layer3",
    "mobilenet_v2": "features.7",
    "densenet121": "features.denseblock3",
    "googlenet": "inception4c",
    "shufflenet_v2_x1_0": "stage4",
    "vgg11": "features.8",
    "inception_v3": "Mixed_6b",
    "swin_t": "features.5",
    "vit_b_32": "encoder.layers.encoder_layer_6",
}
SIZES = {"inception_v3": 96, "vit_b_32": 224}


def backbone_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = build(name, None, {"num_classes": 10}).backbone
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network


@pytest.mark.parametrize("name", PLACES)
def test_divide__both_parts_are_the_whole(name: str) -> None:
    backbone, size = backbone_of(name), SIZES.get(name, 64)
    images = torch.randn(2, 3, size, size)
    parts = divide(backbone, PLACES[name])

    with torch.no_grad():
        expected = backbone.eval()(images)
        kept = parts.frozen(images)
        assert torch.equal(parts.learning(kept), expected)
        assert torch.equal(parts.module()(images), kept)
        if name == "shufflenet_v2_x1_0":  # in training mode too, where no operation is random
            trained = copy.deepcopy(backbone).train()
            twin = divide(trained, PLACES[name])
            assert torch.equal(parts.backbone.train()(images), twin.learning(twin.frozen(images)))


def test_divide__freezes_the_first_part_to_the_byte() -> None:
    backbone = backbone_of("mobilenet_v2")
    parts = divide(backbone, "features.7")
    parts.freeze()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.train()
    parts.hold()
    features = parts.learning(parts.frozen(torch.randn(4, 3, 64, 64)))
    features.sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1).step()

    same = {key for key, value in backbone.state_dict().items() if torch.equal(value, before[key])}
    assert parts.keys == {key for key in before if int(key.split(".")[1]) < 7}
    assert parts.keys <= same
    assert not [key for key in before.keys() - parts.keys if key in same and key.endswith(("weight", "running_mean"))]


class Undecided(nn.Module):
    """A network whose control flow depends on its images, which can't be traced."""

    def forward(self, images: Tensor) -> Tensor:
        return images if images.sum() > 0 else -images


def test_places__of_a_network_that_cannot_be_traced() -> None:
    with pytest.raises(ValueError, match=r"Undecided can't be traced, so there is no place .* method=frozen"):
        places(Undecided())


class Shared(nn.Module):
    """A network that uses one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.last = (nn.Linear(2, 2) for _ in range(3))

    def forward(self, values: Tensor) -> Tensor:
        output: Tensor = self.last(self.twice(self.twice(self.first(values))))
        return output


def test_places__no_layer_is_in_both_parts() -> None:
    assert [place.name for place in places(Shared())] == ["twice", "last"]


def test_places__not_where_a_shortcut_passes_by() -> None:
    found = {name for place in places(backbone_of("resnet18")) for name in place.names}
    assert {"layer3", "layer3.0", "layer3.0.conv1", "layer3.1"} <= found
    assert not {"layer3.0.conv2", "layer3.0.bn1", "layer3.0.downsample", "conv1"} & found


KNOWN = [Place("layer1", ("layer1", "layer1.0"), 0.1), Place("layer2", ("layer2",), 0.5), Place("layer3", (), 0.7)]


@pytest.mark.parametrize(("train_from", "name"), [("layer1.0", "layer1"), (0.55, "layer2"), (0.9, "layer3")])
def test_find_place(train_from: str | float, name: str) -> None:
    assert find_place(KNOWN, train_from).name == name


WRONG = {
    "unknown": ("layer4", r"got 'layer4'\. Did you mean .* Its places are layer1, layer2, layer3, places inside these"),
    "nothing": (0, "share of the layers between 0 and 1 .*, got 0"),
    "everything": (1.0, "between 0 and 1"),
}


@pytest.mark.parametrize(("train_from", "message"), WRONG.values(), ids=WRONG)
def test_find_place__wrong_ones_are_answered_with_the_places(train_from: str | float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_place(KNOWN, train_from)


def test_outline__the_outermost_level_with_enough_places() -> None:
    assert [place.name for place in outline(places(backbone_of("resnet18")))][1:] == [f"layer{i}" for i in (1, 2, 3, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_places__every_network_of_torchvision_can_be_cut(name: str) -> None:
    try:
        with torch.device("meta"):
            backbone = build(name, None).backbone
    except ValueError:  # RegNet can't be built without values
        if name.endswith(("128gf", "32gf", "16gf")):
            pytest.skip("too large for a test with values")
        backbone = build(name, None).backbone
    found = places(backbone)
    assert len(found) >= 5
    assert [place.depth for place in found] == sorted(place.depth for place in found)
    parts = divide(backbone.to("meta"), 0.5)
    size = 299 if name == "inception_v3" else 224
    kept = parts.frozen(torch.empty(2, 3, size, size, device="meta"))
    assert (len(kept), kept.shape[1] == 3 and kept.ndim == 4) == (2, False)  # never taken for images
    assert parts.learning(kept).ndim == 2
