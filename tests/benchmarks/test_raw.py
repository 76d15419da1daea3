from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from benchmarks.raw import RawLoop, autocast, like, network

CPU = torch.device("cpu")


def small_loop(channels_last: bool = False) -> RawLoop:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    shape = (8, 3, 8, 8)
    return RawLoop(net, optimizer, precision="32-true", shape=shape, channels_last=channels_last)


def test_raw_loop__steps_as_plain_pytorch() -> None:
    loop = small_loop()
    other = copy.deepcopy(loop.network).train()
    optimizer = torch.optim.Adam(other.parameters(), lr=0.1)
    assert loop.seconds("train", [8, 5]) > 0
    for images, size in zip(loop.pool, (8, 5), strict=False):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(other(images[:size]), loop.labels[:size])
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        optimizer.step()
    for ours, theirs in zip(loop.network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_raw_loop__testing_changes_nothing() -> None:
    loop = small_loop()
    before = copy.deepcopy(loop.network.state_dict())
    assert loop.seconds("test", [8, 8]) > 0
    for name, value in loop.network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_raw_loop__layout_of_inputs() -> None:
    (first, *_) = small_loop(channels_last=True).pool
    assert first[:5].is_contiguous(memory_format=torch.channels_last)


def test_like__class_and_arguments() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=0.25, momentum=0.5, nesterov=True)
    copied = like(optimizer, [nn.Parameter(torch.ones(2))])
    assert type(copied) is torch.optim.SGD
    assert copied.defaults == optimizer.defaults


@pytest.mark.parametrize("name", ["googlenet", "shufflenet_v2_x0_5"])
def test_network__four_logits(name: str) -> None:
    net = network(name, CPU, channels_last=True).eval()
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 4)


def test_autocast__other_precision() -> None:
    with pytest.raises(ValueError, match="32-true or bf16-mixed for the raw loop, got 16-mixed"):
        autocast(CPU, "16-mixed")
