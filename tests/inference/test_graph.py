"""Graph: networks of torchvision written and opened in both formats, against their own outputs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from brain_tumor_tl.cli.config import choices_of
from brain_tumor_tl.data.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalization
from brain_tumor_tl.inference.graph import FORMATS, WholeNetwork, traced
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.model.backbone import build_network

CLASSES = ("a", "b", "c")
SIZE = 64
TEMPERATURE = 0.5
VIT = "vit_b_32"
NETWORKS = (*choices_of("model"), VIT)


def run_of(backbone: nn.Module, head: nn.Module, name: str = "drawn", normalize: str = "imagenet") -> TrainedRun:
    """Return what the graph takes of a run, with some network."""
    network = nn.ModuleDict({"backbone": backbone, "head": head}).eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)
    parts = {
        "backbone": network["backbone"], "head": network["head"], "temperature": TEMPERATURE,
        "normalize": Normalization(normalize), "preprocessing": SimpleNamespace(image_size=SIZE),
        "results": {"model": name},
    }  # fmt: skip
    return cast(TrainedRun, SimpleNamespace(**parts))


def drawn_anew(network: nn.Module) -> nn.Module:
    """Give a network weights and statistics by which its outputs depend on the image, as after a training."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) * 0.1
            module.running_var = torch.rand(module.num_features) + 0.5
    return network


def small() -> tuple[nn.Module, nn.Module]:
    """Return a backbone and a head."""
    layers = [nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)]
    return drawn_anew(nn.Sequential(*layers, nn.Flatten())), nn.Linear(8, len(CLASSES))


def images_of(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return random images."""
    return np.random.default_rng(count).integers(0, 256, (count, 3, SIZE, SIZE), np.uint8)


def outputs_of(network: nn.Module, images: np.ndarray[Any, Any], normalize: str = "imagenet") -> tuple[Any, Any]:
    """Return logits and probabilities of a network, with the arithmetic of normalisation written out."""
    inputs = torch.from_numpy(images).double() / 255
    if normalize == "imagenet":
        mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
        inputs = (inputs - mean) / std
    logits = network(inputs.float())
    return logits.numpy(), (logits / TEMPERATURE).softmax(1).numpy()


@pytest.mark.parametrize("normalize", ["unit", "imagenet"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_formats__any_number_of_images(file_format: str, normalize: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone, head = small()
    run, form = run_of(backbone, head, normalize=normalize), FORMATS[file_format]

    form.write(traced(run), {"notice": "a note"}, tmp_path / form.file)
    compute = form.open(tmp_path / form.file)

    for count in (1, 2, 7):
        images = images_of(count)
        expected = outputs_of(nn.Sequential(backbone, head), images, normalize)
        for found, value in zip(compute(images), expected, strict=True):
            assert found.dtype == np.float32
            assert found.shape == (count, len(CLASSES))
            np.testing.assert_allclose(found, value, atol=1e-5)


def test_whole_network__leaves_the_run_as_it_was() -> None:
    backbone, head = small()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}

    WholeNetwork(run_of(backbone, head))

    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


class Reads(nn.Module):
    """A network whose code depends on the values of its input, which no graph can hold."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features."""
        return images.flatten(1)[:, : 2 if images.sum() > 0 else 3]


def test_traced__what_no_graph_can_hold() -> None:
    with pytest.raises(ValueError, match="PyTorch can't export drawn: "):
        traced(run_of(Reads(), nn.Linear(3, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_formats__networks_of_torchvision(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"image_size": SIZE} if name == VIT else {}
    network = build_network(name, CLASSES, None, options)
    run = run_of(drawn_anew(network.backbone), network.head, name)
    images = images_of(3)
    logits, probabilities = outputs_of(nn.Sequential(network.backbone, network.head), images)

    scale = np.abs(logits).max()

    program = traced(run)

    assert len(NETWORKS) == 8
    assert np.ptp(logits, axis=0).max() > 0.02 * scale, "the outputs depend on the image"
    for form in FORMATS.values():
        form.write(program, {}, tmp_path / form.file)
        found = form.open(tmp_path / form.file)(images)
        np.testing.assert_allclose(found[0] / scale, logits / scale, atol=1e-4)
        np.testing.assert_allclose(found[1], probabilities, atol=1e-4)
        (tmp_path / form.file).unlink()
