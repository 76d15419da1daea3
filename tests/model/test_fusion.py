"""Fusion: the same outputs with fewer modules, on every kind of network, and the network itself unchanged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from brain_tumor_tl.model import backbone
from brain_tumor_tl.model.features import compute_into
from brain_tumor_tl.model.fusion import fuse_norms

# Batch normalisations that no convolution can take over, for a network of each kind.
LEFT = {
    "shufflenet_v2_x0_5": 0,
    "mobilenet_v2": 0,
    "mobilenet_v3_small": 0,
    "resnet18": 0,
    "googlenet": 0,
    "densenet121": 62,  # those at the start of a layer, where features of several layers meet
    "mnasnet0_5": 0,
    "regnet_y_400mf": 0,
    "efficientnet_b0": 0,
    "squeezenet1_1": 0,  # has none
    "convolutions with bias": 0,
}


def network_of(name: str) -> nn.Module:
    """Return a network of `LEFT` in eval mode."""
    if name in backbone.names():
        return with_statistics(backbone.build(name, None).backbone).eval()
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.BatchNorm2d(4), nn.Flatten()]
    return with_statistics(nn.Sequential(*layers)).eval()


def with_statistics(network: nn.Module) -> nn.Module:
    """Give batch normalisation statistics and weights as training would, since initial ones change nothing."""
    generator = torch.Generator().manual_seed(0)

    def between(low: float, high: float, like: Tensor) -> Tensor:
        return low + (high - low) * torch.rand(like.shape, generator=generator)

    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.copy_(between(-0.2, 0.2, module.running_mean))
            module.running_var.copy_(between(0.5, 1.5, module.running_var))
            with torch.no_grad():
                module.weight.copy_(between(0.5, 1.5, module.weight))
                module.bias.copy_(between(-0.2, 0.2, module.bias))
    return network


def normalisations(network: nn.Module) -> int:
    """Count the batch normalisations that a traced network calls."""
    assert isinstance(network, fx.GraphModule)
    called = [network.get_submodule(str(node.target)) for node in network.graph.nodes if node.op == "call_module"]
    return sum(isinstance(module, nn.BatchNorm2d) for module in called)


@pytest.mark.parametrize("name", LEFT)
@torch.inference_mode()
def test_fuse_norms__same_features(name: str) -> None:
    network, images = network_of(name), torch.rand(3, 3, 64, 64)
    before, state = network(images), {key: value.clone() for key, value in network.state_dict().items()}

    fused = fuse_norms(network)

    assert normalisations(fused) == LEFT[name]
    for count in (3, 1):  # the last chunk of a pass is smaller
        expected = before[:count]
        assert torch.allclose(fused(images[:count]), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert torch.equal(network(images), before)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


class Shared(nn.Module):
    """A network whose convolution is used twice."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.convolution, self.norm, self.twice = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), twice

    def forward(self, images: Tensor) -> Tensor:
        once = self.convolution(images)
        result: Tensor = self.norm(once) + (self.convolution(images + 1) if self.twice else once)
        return result


@pytest.mark.parametrize("twice", [True, False], ids=["called twice", "read twice"])
@torch.inference_mode()
def test_fuse_norms__shared_convolution_stays(twice: bool) -> None:
    network, images = with_statistics(Shared(twice)).eval(), torch.rand(2, 3, 4, 4)
    fused = fuse_norms(network)
    assert normalisations(fused) == 1
    assert torch.equal(fused(images), network(images))


def test_fuse_norms__training_normalisation_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train()
    assert normalisations(fuse_norms(network)) == 1


class Undecided(nn.Module):
    """A network whose control flow depends on its images, which can't be traced."""

    def forward(self, images: Tensor) -> Tensor:
        return images if images.sum() > 0 else -images


def test_fuse_norms__network_that_cannot_be_traced_is_used_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    network = Undecided().eval()
    assert fuse_norms(network) is network
    assert "Undecided can't be traced" in caplog.text


def test_compute_into__fused_pass_gives_the_same_features(tmp_path: Path) -> None:
    network, images = with_statistics(backbone.build("shufflenet_v2_x0_5", None).backbone), torch.rand(5, 3, 64, 64)
    labels, positions = torch.zeros(5), torch.arange(5)
    batches = [(images[rows], labels[rows], positions[rows]) for rows in (slice(0, 4), slice(4, 5))]
    network.eval()
    compute_into(tmp_path / "plain.npy", network, batches, 5)
    compute_into(tmp_path / "fused.npy", fuse_norms(network), batches, 5)
    plain, fused = np.load(tmp_path / "plain.npy"), np.load(tmp_path / "fused.npy")
    assert not np.array_equal(fused, plain)  # it did fuse
    assert np.allclose(fused, plain, rtol=0, atol=1e-5 * np.abs(plain).max())
