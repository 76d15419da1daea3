"""Weights: a network is found whatever a trainer saved around it, and a trained head is kept or told of."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import models

from brain_tumor_tl.model.backbone import build, build_network
from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.model.weights import tensors_in

NAME = "shufflenet_v2_x0_5"
State = dict[str, Tensor]


def state_of(name: str = NAME, seed: int = 1, **options: Any) -> State:
    torch.manual_seed(seed)
    return dict(models.get_model(name, weights=None, **options).state_dict())


def named(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


WRAPPED: dict[str, Callable[[State, State], Any]] = {
    "T18-model": lambda state, _: named(state, "model."),
    "T18-lightning": lambda state, _: {"state_dict": named(state, "net.encoder."), "epoch": 3},
    "compiled-and-parallel": lambda state, _: {"model_state_dict": named(state, "module._orig_mod.")},
    "with-a-loss": lambda state, _: {**named(state, "backbone."), "loss.weight": torch.ones(4)},
    "averaged": lambda state, _: {**named(state, "module."), "n_averaged": torch.tensor(7)},
    "weights-before-their-average": lambda state, other: {"state_dict": state, "state_dict_ema": other},
    "optimizer-beside": lambda state, other: {"model": state, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}},
    "new-head-of-two-layers": lambda state, _: {
        **{key: value for key, value in state.items() if not key.startswith("fc.")},
        "fc.1.weight": torch.ones(4, 1024),
    },
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_load_state_file__finds_the_network(wrap: Callable[[State, State], Any], tmp_path: Path) -> None:
    state = state_of()
    torch.save(wrap(state, state_of(seed=2)), tmp_path / "net.pth")

    loaded = build(NAME, str(tmp_path / "net.pth")).backbone.state_dict()

    assert len(loaded) > 200
    assert [key for key, value in loaded.items() if not torch.equal(value, state[key])] == []


def test_load_state_file__two_networks_that_the_names_do_not_tell_apart(tmp_path: Path) -> None:
    state = state_of()
    torch.save({**named(state, "student."), **named(state, "teacher.")}, tmp_path / "net.pth")

    with pytest.raises(ValueError, match=r"has the network twice, as student\.\* and teacher\.\*: save one of them"):
        build(NAME, str(tmp_path / "net.pth"))


def test_load_state_file__another_network_is_named_by_its_own_entries(tmp_path: Path) -> None:
    torch.save(named(state_of("squeezenet1_1"), "model."), tmp_path / "net.pth")

    with pytest.raises(
        ValueError, match=r"does not fit ShuffleNetV2: .*missing.*unexpected \(model\.features\.0\.weight"
    ):
        build(NAME, str(tmp_path / "net.pth"))


def test_tensors_in__torchvisions_old_densenet_names() -> None:
    """The files that torchvision offers have names that its networks no longer have."""
    with torch.device("meta"):
        names = list(models.densenet121(weights=None).state_dict())
    old = [re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name) for name in names]
    assert sum(map(str.__ne__, old, names)) > 300

    assert list(tensors_in({name: torch.zeros(()) for name in old})) == names


CLASSES = ["no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"]


def checkpoint(path: Path, name: str = NAME) -> State:
    """Write what a run's checkpoint has, and return the state dict of its head."""
    torch.manual_seed(5)
    model = TumorClassifier(name, CLASSES, weights=None, freeze=True)
    content = {"state_dict": model.state_dict(), "hyper_parameters": dict(model.hparams), "optimizer_states": []}
    torch.save(content, path)
    return dict(model.head.state_dict())


@pytest.mark.parametrize("name", [NAME, "squeezenet1_1"])
def test_build_network__head_of_a_checkpoint_is_kept_T17(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = checkpoint(tmp_path / "last.ckpt", name)

    with caplog.at_level(logging.INFO, "brain_tumor_tl"):
        head = build_network(name, CLASSES, str(tmp_path / "last.ckpt")).head

    assert all(torch.equal(head.state_dict()[key], value) for key, value in trained.items())
    assert "last.ckpt too, which is for the same classes" in caplog.text


@pytest.mark.parametrize("classes", [CLASSES[::-1], ["a", "b", "c", "d"], CLASSES[:3]], ids=["order", "names", "count"])
def test_build_network__head_for_other_classes_is_left_out_T17(
    classes: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = checkpoint(tmp_path / "last.ckpt")

    torch.manual_seed(9)
    head = build_network(NAME, classes, str(tmp_path / "last.ckpt")).head
    torch.manual_seed(9)
    fresh = build_network(NAME, classes, None).head

    assert torch.equal(head.state_dict()["weight"], fresh.state_dict()["weight"])
    assert head.state_dict()["weight"].shape != trained["weight"].shape or not torch.equal(
        head.state_dict()["weight"], trained["weight"]
    )
    assert "is left out, and a new one is trained: it is for no_tumor, pituitary_tumor" in caplog.text


@pytest.mark.parametrize(("count", "told"), [(4, True), (1000, False)], ids=["as-many-classes", "imagenet"])
def test_build_network__head_of_unnamed_classes_T17(
    count: int, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state_of(num_classes=count), tmp_path / "net.pth")

    build_network(NAME, CLASSES, str(tmp_path / "net.pth"))

    assert ("classes that the file doesn't name" in caplog.text) == told


def test_load_state_file__names_the_network_that_a_file_is_of(tmp_path: Path) -> None:
    torch.save(named(state_of("mobilenet_v2", num_classes=4), "state_dict.module."), tmp_path / "other.pth")

    with pytest.raises(ValueError, match=r"does not fit ShuffleNetV2: .* They look like those of mobilenet_v2: give"):
        build(NAME, str(tmp_path / "other.pth"))


def test_load_state_file__a_network_that_is_not_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "list_models", lambda module: [NAME, "regnet_y_400mf"])
    torch.save({"layer.weight": torch.ones(3, 3)}, tmp_path / "own.pth")

    with pytest.raises(ValueError, match=r"does not fit ShuffleNetV2: .* Choose the network that it belongs to"):
        build(NAME, str(tmp_path / "own.pth"))


def test_load_state_file__checkpoint_of_a_cut_run(tmp_path: Path) -> None:
    checkpoint(tmp_path / "last.ckpt")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    content["state_dict"] = {k: v for k, v in content["state_dict"].items() if not k.startswith("backbone.")}
    torch.save(content, tmp_path / "last.ckpt")

    with pytest.raises(ValueError, match=r"last\.ckpt has a head without its backbone, since its run was cut: resume"):
        build(NAME, str(tmp_path / "last.ckpt"))
