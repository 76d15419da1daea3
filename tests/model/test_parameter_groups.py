"""Parameter groups: every layer that learns is in one group, at the rate that its place gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from brain_tumor_tl.model.backbone import build_network
from brain_tumor_tl.model.optim import build_optimizer, build_scheduler, check_learning
from brain_tumor_tl.model.parameter_groups import parameter_groups
from brain_tumor_tl.model.steps import constants, make_capturable


@pytest.fixture
def backbone() -> nn.Module:
    return build_network("shufflenet_v2_x0_5", ["a", "b"], None).backbone


def test_parameter_groups__one_group_in_the_order_of_the_network(backbone: nn.Module) -> None:
    head = nn.Linear(4, 2)

    (group,) = parameter_groups(backbone, head, 0.1, 1.0)

    expected = [*backbone.parameters(), *head.parameters()]
    assert "lr" not in group
    assert len(group["params"]) == len(expected) > 50
    assert all(one is other for one, other in zip(group["params"], expected, strict=True))


def test_parameter_groups__by_place(backbone: nn.Module) -> None:
    head = nn.Linear(4, 2)
    factors = {"stage4": 0.5, "conv1": 0.1}  # in any order

    groups = parameter_groups(backbone, head, 0.1, factors)

    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.01, 0.05])
    names = {id(value): name for name, value in backbone.named_parameters()}
    early, late = ({names[id(value)].split(".")[0] for value in group["params"]} for group in groups[1:])
    assert (early, late) == ({"conv1", "stage2", "stage3"}, {"stage4", "conv5"})
    assert sum(len(group["params"]) for group in groups) == len(names) + 2


def test_parameter_groups__frozen_layers_are_in_none(backbone: nn.Module) -> None:
    for name, value in backbone.named_parameters():
        value.requires_grad_(name.startswith(("stage4", "conv5")))

    groups = parameter_groups(backbone, nn.Linear(4, 2), 0.1, {"stage4": 0.5})
    assert [group["lr"] for group in groups] == [0.1, 0.05]
    assert all(value.requires_grad for group in groups for value in group["params"])

    backbone.requires_grad_(False)
    assert len(parameter_groups(backbone, nn.Linear(4, 2), 0.1, 0.5)) == 1


BAD = {
    "unknown": ({"stage9": 0.1}, "'stage9', which is no module of this backbone.*Did you mean `stage"),
    "no-parameters": ({"maxpool": 0.1}, "'maxpool', which has no parameters.*outer modules are conv1, stage2"),
    "not-from-the-start": ({"stage3": 0.1}, r"conv1.0.weight comes before stage3. Add one for conv1"),
    "same-layer": ({"conv1": 0.1, "conv1.0": 0.2}, "begin at different layers.*got conv1 and conv1.0"),
}


@pytest.mark.parametrize(("factors", "match"), BAD.values(), ids=BAD)
def test_parameter_groups__places_that_do_not_fit(
    factors: Mapping[str, float], match: str, backbone: nn.Module
) -> None:
    with pytest.raises(ValueError, match=re.compile(match, re.DOTALL)):
        parameter_groups(backbone, nn.Linear(4, 2), 0.1, factors)


def two_groups(name: str = "Adam") -> torch.optim.Optimizer:
    return build_optimizer(name, parameter_groups(nn.Linear(3, 3), nn.Linear(3, 2), 0.1, 0.2), 0.1, {})


SCHEDULES: dict[str, dict[str, Any]] = {
    "OneCycleLR": {"max_lr": 0.1, "total_steps": "auto"},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "cycle_momentum": False},
    "CosineAnnealingLR": {"T_max": "auto"},
    "StepLR": {"step_size": 3},
    "ReduceLROnPlateau": {"patience": 1},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_build_scheduler__each_group_keeps_its_share(name: str) -> None:
    optimizer = two_groups()
    scheduler = build_scheduler(name, optimizer, SCHEDULES[name], 10)
    rates = set()
    for _ in range(9):
        optimizer.step()
        scheduler.step(*((1.0,) if name == "ReduceLROnPlateau" else ()))
        head, backbone = (group["lr"] for group in optimizer.param_groups)
        assert backbone == pytest.approx(0.2 * head)
        rates.add(head)
    assert len(rates) > 1


def test_check_learning__a_rate_for_each_group_is_possible_and_counted() -> None:
    options = {"max_lr": [0.1, 0.3], "total_steps": 9}
    check_learning("Adam", 0.1, {}, "OneCycleLR", options, "step", factors=(1.0, 0.2))
    with pytest.raises(ValueError, match="OneCycleLR rejects"):
        check_learning("Adam", 0.1, {}, "OneCycleLR", options, "step", factors=(1.0, 0.2, 0.4))


def test_make_capturable__every_group_has_its_own_rate_that_schedulers_move() -> None:
    optimizer, expected = two_groups(), two_groups()
    options = {"max_lr": 0.5, "total_steps": 10, "cycle_momentum": False}
    scheduler, other = (build_scheduler("OneCycleLR", one, options, 10) for one in (optimizer, expected))
    make_capturable(optimizer)
    before = constants(optimizer)
    for _ in range(9):
        scheduler.step()
        other.step()
    assert constants(optimizer) == before, "a graph holds all but the rates"
    assert len(before) == 2
    for mine, theirs in zip(optimizer.param_groups, expected.param_groups, strict=True):
        assert float(mine["lr"]) == pytest.approx(theirs["lr"], rel=1e-5)
