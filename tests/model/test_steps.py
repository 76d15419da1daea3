"""Steps: a block of batches teaches what the same batches teach one by one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from brain_tumor_tl.model.steps import Blocks, Stepper, can_be_captured, constants, make_capturable


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


def block(count: int = 22) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 6, generator=generator)
    return inputs, (inputs[:, 0] > 0).long() + 2 * (inputs[:, 1] > 0).long()


def stepper(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    after_step: Callable[[], None] = lambda: None,
    **options: Any,
) -> Stepper:
    blocks = Blocks(batch_size=8, steps=3, **options)
    return Stepper(lambda inputs: model(inputs).float(), F.cross_entropy, optimizer, blocks, after_step)


def plain(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor) -> Tensor:
    logits = []
    for start in range(0, len(inputs), 8):
        optimizer.zero_grad()
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=torch.is_autocast_enabled(inputs.device.type)):
            logits.append(model(inputs[start : start + 8]).float())
        with torch.autocast(inputs.device.type, enabled=False):
            F.cross_entropy(logits[-1], labels[start : start + 8]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        torch.clear_autocast_cache()
    return torch.cat(logits).detach()


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
def test_learn__teaches_what_a_plain_loop_teaches(bf16: bool) -> None:
    inputs, labels = block()
    model = network()
    other = copy.deepcopy(model)
    mine, theirs = torch.optim.Adam(model.parameters(), 0.01), torch.optim.Adam(other.parameters(), 0.01)
    steps = stepper(model, mine)
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            got = steps.learn(inputs, labels)
            expected = plain(other, theirs, inputs, labels)
        assert torch.equal(got, expected)
    for left, right in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(left, right)


def test_learn__sixteen_bit_copies_of_weights_are_renewed() -> None:
    inputs, labels = block(16)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    with torch.autocast("cpu", torch.bfloat16):
        logits = stepper(model, optimizer).learn(torch.cat((inputs[:8], inputs[:8])), torch.cat((labels[:8],) * 2))
    assert (logits[:8] - logits[8:]).abs().max() > 0.1


def test_learn__calls_after_each_step() -> None:
    inputs, labels = block()
    model, calls = network(), []
    optimizer = torch.optim.Adam(model.parameters())
    logits = stepper(model, optimizer, after_step=lambda: calls.append(1)).learn(inputs, labels)
    assert logits.shape == (22, 4)
    assert len(calls) == 3
    assert not logits.requires_grad


def test_learn__each_step_prepares_its_own_batch_in_full_precision() -> None:
    inputs, labels = block()
    model, seen = network(), []

    def prepare(batch: Tensor) -> Tensor:
        seen.append((len(batch), torch.is_autocast_enabled("cpu")))
        return 2 * batch

    other = copy.deepcopy(model)
    mine, theirs = (torch.optim.SGD(m.parameters(), 0.1) for m in (model, other))
    with torch.autocast("cpu", torch.bfloat16):
        prepared = stepper(model, mine, prepare=prepare).learn(inputs, labels)
        plainly = stepper(other, theirs).learn(2 * inputs, labels)
    assert torch.equal(prepared, plainly)
    assert seen == [(8, False), (8, False), (6, False)]


@pytest.mark.parametrize(("name", "expected"), [("Adam", True), ("AdamW", True), ("SGD", False)])
def test_can_be_captured(name: str, expected: bool) -> None:
    assert can_be_captured(getattr(torch.optim, name)(network().parameters(), lr=0.1)) is expected


def test_make_capturable__schedulers_still_move_the_rate() -> None:
    optimizer = torch.optim.Adam(network().parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=10)
    expected = torch.optim.Adam(network().parameters(), lr=0.1)
    other = torch.optim.lr_scheduler.OneCycleLR(expected, max_lr=0.5, total_steps=10)
    make_capturable(optimizer)
    held = optimizer.param_groups[0]["lr"]
    for _ in range(9):
        scheduler.step()
        other.step()
        assert optimizer.param_groups[0]["lr"] is held
        assert float(held) == pytest.approx(expected.param_groups[0]["lr"], rel=1e-5)


@pytest.mark.parametrize(("name", "warned"), [("SGD", True), ("Adam", False)])
def test_init__an_optimizer_that_no_graph_can_hold_is_told(
    name: str, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("brain_tumor_tl.model.steps.make_capturable", Mock())
    optimizer = getattr(torch.optim, name)(network().parameters(), lr=0.1)
    optimizer.param_groups[0]["params"] = [Mock(device=torch.device("cuda"))]
    assert stepper(network(), optimizer, graphs=True).graphs is not warned
    assert ("can't be a CUDA graph and run one by one: SGD with these options" in caplog.text) == warned


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bf16"])
def test_learn__cuda_graph_teaches_what_eager_steps_teach(dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    inputs, labels = (tensor.cuda() for tensor in block(70))
    model = network().cuda()
    other = copy.deepcopy(model)
    mine = torch.optim.Adam(model.parameters(), 0.01, fused=True)
    theirs = torch.optim.Adam(other.parameters(), 0.01, fused=True)
    graphed, eager = stepper(model, mine, graphs=True), stepper(other, theirs)
    for _ in range(4):
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
            got, expected = graphed.learn(inputs, labels), eager.learn(inputs, labels)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    for left, right in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


def test_constants__notice_a_scheduler_that_moves_more_than_the_rate() -> None:
    optimizer = torch.optim.Adam(network().parameters(), lr=0.1)
    before = constants(optimizer)
    optimizer.param_groups[0]["lr"] = 0.2
    assert constants(optimizer) == before
    torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=10, cycle_momentum=True)
    assert constants(optimizer) != before


def test_can_be_captured__not_parameter_by_parameter() -> None:
    assert not can_be_captured(torch.optim.RMSprop(network().parameters(), lr=0.1, foreach=False))


def test_make_capturable__a_resumed_count_follows_its_parameter() -> None:
    model = network()
    optimizer = torch.optim.RMSprop(model.parameters(), lr=0.1)
    stepper(model, optimizer).learn(*block())
    for state in optimizer.state.values():
        state["step"] = state["step"].double()  # as it may come from a checkpoint
    make_capturable(optimizer)
    assert {state["step"].dtype for state in optimizer.state.values()} == {torch.float32}
