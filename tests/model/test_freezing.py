"""Freezing: which layers learn in which epoch, and that all others stay as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from brain_tumor_tl.model.backbone import build
from brain_tumor_tl.model.freezing import Epochs, Freezing, learns


def resnet() -> nn.Module:
    return build("resnet18", None).backbone


def learning(backbone: nn.Module) -> set[str]:
    return {name.split(".")[0] for name, value in backbone.named_parameters() if value.requires_grad}


def test_begin__layers_join_from_the_head_down() -> None:
    backbone = resnet()
    freezing = Freezing(backbone, True, stages=[("head", 2), ("layer4", 1), ("layer3", None)])
    assert learning(backbone) == {"layer3", "layer4"}  # what an optimizer takes: all that ever learns
    backbone.train()
    seen = []
    for epoch in range(5):
        freezing.begin(epoch)
        norms = {n for n, m in backbone.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}
        assert {name.split(".")[0] for name in norms} == learning(backbone)
        seen.append(sorted(learning(backbone)))
    assert seen == [[], [], ["layer4"], ["layer3", "layer4"], ["layer3", "layer4"]]
    assert freezing.kept_before == "layer3"


def test_begin__to_the_whole_network() -> None:
    backbone = resnet()
    freezing = Freezing(backbone, True, stages=[("head", 1), ("all", None)])
    assert (freezing.parts, freezing.keys, freezing.head_only) == (None, frozenset(), False)
    freezing.begin(0)
    assert not learning(backbone)
    freezing.begin(1)
    assert all(value.requires_grad for value in backbone.parameters())


WRONG: dict[str, tuple[Epochs, str]] = {
    "order": ([("layer3", 2), ("layer4", None)], "more layers than the one before it, got layer3 before layer4"),
    "after-all": ([("all", 2), ("head", None)], "got all before head"),
    "no-epochs": ([("head", 0), ("layer4", None)], "number of epochs for the stage head .*got 0"),
    "rest-too-early": ([("head", None), ("layer4", 3)], "number of epochs for the stage head .*got None"),
    "unknown": ([("head", 1), ("layer9", None)], "got 'layer9'"),
}


@pytest.mark.parametrize(("stages", "message"), WRONG.values(), ids=WRONG)
def test_freezing__wrong_stages(stages: Epochs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Freezing(resnet(), True, stages=stages)


def test_features__of_images_or_of_what_is_kept() -> None:
    backbone, images = resnet().eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = backbone(images)
        for freezing in (Freezing(backbone, True, "layer3"), Freezing(backbone, True)):
            assert freezing.parts is not None
            assert torch.equal(freezing.features(images), expected)
            assert torch.equal(freezing.features(freezing.kept_part()(images)), expected)
        assert torch.equal(Freezing(backbone, False).features(images), expected)


ENDS: dict[str, tuple[dict[str, Any], str, float]] = {
    "finetune": ({"freeze": False}, "all", 1.0),
    "from-0": ({"freeze": True, "train_from": 0}, "all", 1.0),
    "frozen": ({"freeze": True}, "head", 0.0),
    "from-1": ({"freeze": True, "train_from": 1.0}, "head", 0.0),
    "partial": ({"freeze": True, "train_from": "layer3"}, "part", 0.5),
    "gradual": ({"freeze": True, "stages": [("head", 1), ("layer4", None)]}, "part", 0.25),
    "gradual-to-all": ({"freeze": True, "stages": [("head", 1), ("all", None)]}, "all", 1.0),
}


@pytest.mark.parametrize(("method", "what", "share"), ENDS.values(), ids=ENDS)
def test_learns__the_same_as_the_freezing_of_a_network(method: dict[str, Any], what: str, share: float) -> None:
    freezing = Freezing(resnet(), **method)
    assert learns(method) == what
    assert (freezing.share, freezing.head_only) == (share, what == "head")
    assert freezing.begins == {"part": freezing.kept_before}.get(what, what)
    assert (freezing.parts is None) == (what == "all")


def test_require_one_device__of_stages_alone() -> None:
    with pytest.raises(ValueError, match=r"one device for method\.stages, got 2"):
        Freezing(resnet(), True, stages=[("head", 1), ("layer4", None)]).require_one_device(2)
    Freezing(resnet(), True, "layer3").require_one_device(2)


def test_kept_part__of_nothing_frozen() -> None:
    with pytest.raises(ValueError, match="all layers learn"):
        Freezing(resnet(), False).kept_part()
