"""Network: rebuilt from checkpoints as Lightning's own loading does, and what is wrong with a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from brain_tumor_tl.inference.network import fast_backbone, read_checkpoint, rebuild
from brain_tumor_tl.model.backbone import state_digest
from brain_tumor_tl.model.classifier import TumorClassifier

CLASSES = ["no_tumor", "glioma_tumor", "pituitary_tumor"]
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NETWORKS: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "mobilenet_v2": {"inverted_residual_setting": [[1.000001, 16, 1, 1], [6, 24, 2, 2]]},
    "squeezenet1_1": {},  # its head is a convolution
    "googlenet": {},  # its auxiliary heads are cut off
    "regnet_y_400mf": {},  # torchvision can't build it without values
    "swin_t": {},  # has buffers that are no weights
}


def checkpoint_of(name: str, options: Mapping[str, Any]) -> tuple[TumorClassifier, dict[str, Any]]:
    """Return a classifier with random weights in eval mode, and its checkpoint."""
    torch.manual_seed(1)
    model = TumorClassifier(name, CLASSES, weights=None, freeze=False, options=options).eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):  # as after training, so that leaving them out would show
            assert layer.running_mean is not None
            assert layer.running_var is not None
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return model, {"hyper_parameters": dict(model.hparams), "state_dict": model.state_dict()}


@pytest.mark.parametrize(("name", "options"), NETWORKS.items(), ids=NETWORKS)
def test_rebuild__computes_the_classifiers_logits_to_the_bit(name: str, options: Mapping[str, Any]) -> None:
    model, checkpoint = checkpoint_of(name, options)

    network = rebuild(checkpoint)

    with torch.inference_mode():
        assert torch.equal(network.head(network.backbone(IMAGES)), model(IMAGES))
    parts = [network.backbone, network.head]
    assert not any(part.training for part in parts)
    assert not any(value.requires_grad for part in parts for value in part.parameters())


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_read_checkpoint__of_a_run_gives_what_lightning_loads(finished_runs: Mapping[str, Path], method: str) -> None:
    path = finished_runs[method] / "checkpoints" / "best.ckpt"
    model = TumorClassifier.load_from_checkpoint(path).eval()

    network = rebuild(read_checkpoint(path))

    network.backbone.to(memory_format=torch.contiguous_format)  # as Lightning loads it
    with torch.inference_mode():
        assert torch.equal(network.head(network.backbone(IMAGES)), model(IMAGES))


def test_read_checkpoint__says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="it is damaged"):
        read_checkpoint(path)
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="it holds something else"):
        read_checkpoint(path)
    settings: dict[str, Any] = {"name": "resnet18", "classes": ["a", "b"], "weights": None, "options": {}}
    torch.save({"state_dict": {"head.weight": torch.zeros(1)}, "hyper_parameters": settings}, path)
    with pytest.raises(ValueError, match="has a head without its backbone, since its run was cut: resume that run"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "swin_t"])
def test_fast_backbone__computes_the_same(name: str) -> None:
    backbone = rebuild(checkpoint_of(name, NETWORKS[name])[1]).backbone
    before = state_digest(backbone)

    fused, rounded = (fast_backbone(backbone, precision) for precision in ("32-true", "bf16-mixed"))

    with torch.inference_mode():
        assert torch.allclose(fused(IMAGES), backbone(IMAGES), rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(rounded(IMAGES), backbone(IMAGES)), "to the bit"
    assert state_digest(backbone) == before, "the backbone stays as it is"
    assert {m.weight.dtype for m in rounded.modules() if isinstance(m, nn.Conv2d)} == {torch.bfloat16}
