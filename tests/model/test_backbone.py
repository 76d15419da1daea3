"""Backbones: every network of torchvision is cut at its head, and head(backbone(x)) equals its output."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision import models

from brain_tumor_tl.model import backbone
from brain_tumor_tl.model.backbone import build, feature_count, names, new_head, state_digest

SMALL = 64  # pixels; enough for most networks
FAMILIES = {  # a network of each class of torchvision, and pixels that it takes
    "alexnet": SMALL,
    "convnext_tiny": SMALL,
    "densenet121": SMALL,
    "efficientnet_b0": SMALL,
    "googlenet": SMALL,
    "inception_v3": 96,
    "maxvit_t": 224,
    "mnasnet0_5": SMALL,
    "mobilenet_v2": SMALL,
    "mobilenet_v3_small": SMALL,
    "regnet_x_400mf": SMALL,
    "resnet18": SMALL,
    "shufflenet_v2_x0_5": SMALL,
    "squeezenet1_1": SMALL,
    "swin_t": SMALL,
    "vgg11": SMALL,
    "vit_b_32": 224,
}


class EmptyOnMeta(TorchFunctionMode):
    """Puts tensors without values on the meta device, so that a network is built without its memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def test_names__are_torchvisions_classifiers() -> None:
    assert len(names()) >= 80
    assert set(FAMILIES) <= set(names())


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """Collects a copy of each network that `build` constructs, as torchvision returned it."""
    networks: list[nn.Module] = []
    construct = backbone.construct

    def remember(*args: Any) -> nn.Module:
        network = construct(*args)
        networks.append(copy.deepcopy(network))
        return network

    monkeypatch.setattr(backbone, "construct", remember)
    return networks


def without_auxiliary(network: nn.Module) -> set[str]:
    return {key for key in network.state_dict() if not key.startswith(("aux1.", "aux2.", "AuxLogits."))}


@pytest.mark.parametrize("name", names())
def test_build__cuts_every_network(name: str, built: list[nn.Module]) -> None:
    classes = 64  # as many as layers inside of most networks have outputs, which are not the head
    with EmptyOnMeta():
        cut = build(name, weights=None, options={"num_classes": classes})
    (network,) = built
    width = feature_count(name, cut.backbone, 299 if name == "inception_v3" else 224)
    (last,) = (module for module in cut.head.modules() if isinstance(module, nn.Linear | nn.Conv2d))
    assert len(last.weight) == classes
    whole, kept = without_auxiliary(network), set(cut.backbone.state_dict())
    assert kept < whole
    assert len(whole - kept) == len(last.state_dict()) == len(cut.head.state_dict())
    features = torch.empty(2, width, device="meta")
    assert new_head(cut.head, 4).to("meta")(features).shape == (2, 4)


@pytest.mark.parametrize(("name", "size"), FAMILIES.items(), ids=FAMILIES)
def test_build__old_head_gives_torchvisions_logits(name: str, size: int, built: list[nn.Module]) -> None:
    torch.manual_seed(0)
    cut = build(name, weights=None)
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        expected = built[0].eval()(images)
        features = cut.backbone.eval()(images)
        logits = cut.head.eval()(features)
    assert features.ndim == 2
    assert torch.equal(logits, expected)
    assert feature_count(name, cut.backbone, size) == features.shape[1]


# 1000 as ImageNet has, and as many as layers of the trunk have outputs
@pytest.mark.parametrize("classes", [1000, 64, 128, 192, 320])
@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_build__drops_auxiliary_heads_alone(name: str, classes: int, built: list[nn.Module]) -> None:
    cut = build(name, None, {"num_classes": classes, "init_weights": False})
    assert set(cut.backbone.state_dict()) == without_auxiliary(built[0]) - {"fc.weight", "fc.bias"}
    assert len(built[0].state_dict()) > len(without_auxiliary(built[0]))
    assert cut.backbone.train()(torch.rand(2, 3, 96, 96)).ndim == 2


@pytest.mark.parametrize(
    ("name", "match"),
    [("resnet19", "`resnet18`"), ("mobilnet_v2", "`mobilenet_v2`"), ("ResNet18", "`resnet18`")],
    ids=["number", "typo", "case"],
)
def test_build__wrong_name_is_answered_with_the_nearest(name: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build(name, weights=None)


@pytest.mark.parametrize(
    ("weights", "match"),
    [("IMAGENET1K_V9", "IMAGENET1K_V1"), ("nowhere/net.pth", "no file"), ("imagenet", "got 'imagenet'")],
    ids=["version", "path", "word"],
)
def test_build__unknown_weights(weights: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        build("resnet18", weights=weights)


def test_build__options_reach_the_builder() -> None:
    narrow = build("mobilenet_v2", weights=None, options={"width_mult": 0.35})
    assert sum(p.numel() for p in narrow.backbone.parameters()) < 600_000
    with pytest.raises(ValueError, match=r"width_multi.*Its options are num_classes, width_mult"):
        build("mobilenet_v2", weights=None, options={"width_multi": 0.35})


def test_build__dropout_option_stays_in_the_backbone() -> None:
    cut = build("efficientnet_b0", weights=None, options={"dropout": 0.5})
    assert any(isinstance(m, nn.Dropout) and m.p == 0.5 for m in cut.backbone.modules())


@pytest.mark.parametrize(
    ("name", "size", "least"), [("vit_b_32", 64, 224), ("inception_v3", 64, 75)], ids=["vit", "inception"]
)
def test_feature_count__refused_size(name: str, size: int, least: int) -> None:
    with EmptyOnMeta():
        cut = build(name, weights=None)
    with pytest.raises(ValueError, match=f"does not take images of {size} x {size}.*data.image_size={least}"):
        feature_count(name, cut.backbone, size)


def squeezenet_state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(models.squeezenet1_1(weights=None).state_dict())


def resnet_state(classes: int = 1000) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(models.resnet18(weights=None, num_classes=classes).state_dict())


def without_head(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        without_head,
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {"model": state, "epoch": 3},
        lambda state: {
            "state_dict": {f"backbone.{k}": v for k, v in without_head(state).items()} | {"head.bias": torch.ones(4)}
        },
        lambda state: {k: v for k, v in state.items() if "num_batches_tracked" not in k},
    ],
    ids=["whole", "without-head", "data-parallel", "wrapped", "own-checkpoint", "without-counters"],
)
def test_build__weights_from_a_file(tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any]) -> None:
    state = resnet_state()
    torch.save(wrap(state), tmp_path / "net.pth")
    loaded = build("resnet18", weights=str(tmp_path / "net.pth")).backbone.state_dict()
    assert len(loaded) > 100
    for key in without_head(state):
        assert torch.equal(loaded[key], state[key]) or key.endswith("num_batches_tracked")


def test_build__weights_with_another_head_leave_it_out(tmp_path: Path) -> None:
    torch.save(resnet_state(classes=4), tmp_path / "net.pth")
    cut = build("resnet18", weights=str(tmp_path / "net.pth"))
    assert torch.equal(cut.backbone.state_dict()["conv1.weight"], resnet_state(4)["conv1.weight"])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "conv1.weight"}, r"1 missing \(conv1.weight\)"),
        (lambda s: {**s, "extra.weight": torch.ones(1)}, r"1 unexpected \(extra.weight\)"),
        (lambda s: {**s, "conv1.weight": torch.ones(64, 1, 7, 7)}, r"1 of another shape \(conv1.weight\)"),
        (lambda s: squeezenet_state(), r"missing .* and \d+ more.*unexpected .* and \d+ more"),
    ],
    ids=["missing", "unexpected", "shape", "other-network"],
)
def test_build__weights_that_do_not_fit(tmp_path: Path, change: Callable[[Any], Any], match: str) -> None:
    torch.save(change(resnet_state()), tmp_path / "net.pth")
    with pytest.raises(ValueError, match=match):
        build("resnet18", weights=str(tmp_path / "net.pth"))


class Evil:
    """Would run code when unpickled without restrictions."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path("was-run").touch, ())


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", Evil(), {"epoch": 3}, [1, 2]],
    ids=["empty", "text", "code", "no-tensors", "list"],
)
def test_build__file_without_a_state_dict(tmp_path: Path, content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "net.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match="to hold a state dict"):
        build("resnet18", weights=str(file))
    assert not (tmp_path / "was-run").exists()


def hub_file(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> Path:
    """Return where torchvision looks for a network's V1 weights once its hub folder is `folder`."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    path = folder / "checkpoints" / Path(models.get_model_weights(name)["IMAGENET1K_V1"].url).name
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_build__torchvision_weights_from_the_hub_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    torch.manual_seed(2)
    state = models.get_model(
        name, weights=None, **({"init_weights": False} if name == "googlenet" else {})
    ).state_dict()
    torch.save(state, hub_file(monkeypatch, tmp_path, name))
    loaded = build(name, weights="IMAGENET1K_V1").backbone.state_dict()
    assert torch.equal(
        loaded["conv1.weight" if name == "resnet18" else "conv1.conv.weight"], next(iter(state.values()))
    )


@pytest.mark.parametrize(("options", "expected"), [({}, True), ({"transform_input": False}, False)], ids=["own", "off"])
def test_build__googlenet_takes_the_same_input_from_a_file_as_from_the_hub(
    options: dict[str, Any], expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(models.googlenet(weights=None, init_weights=False).state_dict(), tmp_path / "net.pth")
    from_file = build("googlenet", str(tmp_path / "net.pth"), options).backbone
    hub = hub_file(monkeypatch, tmp_path / "hub", "googlenet")
    hub.write_bytes((tmp_path / "net.pth").read_bytes())
    from_hub = build("googlenet", "IMAGENET1K_V1", options).backbone
    assert from_file.transform_input == from_hub.transform_input == expected


def test_build__damaged_torchvision_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = hub_file(monkeypatch, tmp_path, "resnet18")
    torch.save(resnet_state(), file)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConnectionError, match=r"save it as .*resnet18.*model.weights=PATH.*model.weights=null"):
        build("resnet18", weights="IMAGENET1K_V1")


def test_build__no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub_file(monkeypatch, tmp_path, "resnet18")

    def unreachable(*args: Any, **kwargs: Any) -> None:
        from urllib.error import URLError

        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(
        ConnectionError, match=r"can't be downloaded from https://.*Name or service not known"
    ) as caught:
        build("resnet18", weights="IMAGENET1K_V1")
    assert "\n" not in str(caught.value)


def test_state_digest__follows_every_byte() -> None:
    network = build("squeezenet1_1", weights=None).backbone
    before = state_digest(network)
    assert state_digest(network) == before
    parameter = next(network.parameters())
    with torch.no_grad():
        parameter.view(-1)[0] += 1e-3
    assert state_digest(network) != before


@pytest.mark.real_data
@pytest.mark.parametrize("head", ["absent", "whole"])
def test_build__real_imagenet_weights(shared_weights: Path, head: str) -> None:
    if head == "absent":
        setting = [
            [1.000001, 16, 1, 1],
            [6, 24, 2, 2],
            [6, 32, 3, 2],
            [6, 64, 4, 2],
            [6, 96, 3, 1],
            [6, 160, 3, 2],
            [6, 320, 1, 1],
        ]
        file = shared_weights / "mobilenet_v2-imagenet-onnxzoo.pth"
        cut = build("mobilenet_v2", str(file), {"inverted_residual_setting": setting})
    else:
        file = shared_weights / "squeezenet1_1-imagenet-onnxzoo.pth"
        cut = build("squeezenet1_1", str(file))
    state = torch.load(file, weights_only=True)
    loaded = {**cut.backbone.state_dict(), **cut.head.state_dict()}
    assert torch.equal(loaded[next(iter(state))], state[next(iter(state))])
