"""Factory: which parts a run's settings give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from sklearn.utils.class_weight import compute_class_weight

from brain_tumor_tl.model.freezing import HEAD, learns
from brain_tumor_tl.model.loss import class_weights
from brain_tumor_tl.run import factory, hardware
from brain_tumor_tl.run.callbacks import EpochRecorder, ProgressBar
from brain_tumor_tl.run.checkpoints import Checkpoints
from brain_tumor_tl.run.factory import Compute

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
SLURM = "hydra_plugins.brain_tumor_tl_slurm.SlurmLauncher"


@pytest.fixture(autouse=True)
def no_hydra() -> Iterator[None]:
    yield
    HydraConfig.instance().cfg = None


def configure(mode: RunMode, launcher: str) -> None:
    config = OmegaConf.structured(HydraConf(mode=mode, launcher={"_target_": launcher}))
    HydraConfig.instance().set_config(OmegaConf.create({"hydra": config}))


def make_trainer(settings: dict[str, Any], folder: Path) -> Any:
    recorder = EpochRecorder(folder, "val", ["a", "b"], 0)
    checkpoints = Checkpoints(folder / "checkpoints", "val/accuracy", frozen=())
    compute = Compute("cpu", "32-true", True, False, caches_features=False, fuses_norms=False)
    return factory.make_trainer(settings["trainer"], compute, folder, recorder, checkpoints)


CASES = {
    "single-run": (RunMode.RUN, BASIC, False),
    "in-process": (RunMode.MULTIRUN, BASIC, True),
    "slurm": (RunMode.MULTIRUN, SLURM, False),
}


@pytest.mark.parametrize(("mode", "launcher", "shares"), CASES.values(), ids=CASES)
def test_make_trainer__no_further_processes_in_a_multirun_of_one_process(
    mode: RunMode, launcher: str, shares: bool, settings: dict[str, Any], tmp_path: Path
) -> None:
    configure(mode, launcher)
    settings["trainer"] |= {"devices": 2, "strategy": "ddp"}

    if shares:
        with pytest.raises(ValueError, match="Expected one device for a job of a multirun"):
            make_trainer(settings, tmp_path)
    else:
        assert make_trainer(settings, tmp_path).world_size == 2
    settings["trainer"] |= {"devices": "auto", "strategy": "auto"}
    assert make_trainer(settings, tmp_path).num_devices == 1


@pytest.mark.parametrize("shown", [False, True])
def test_make_trainer__the_recorder_comes_before_the_progress_bar(
    shown: bool, settings: dict[str, Any], tmp_path: Path
) -> None:
    settings["trainer"]["enable_progress_bar"] = shown

    kinds = [type(callback) for callback in make_trainer(settings, tmp_path).callbacks]

    assert (ProgressBar in kinds) == shown
    if shown:
        assert kinds.index(EpochRecorder) < kinds.index(ProgressBar)


FEATURES = {
    "frozen": ({}, {}, True),
    "finetune": ({"freeze": False}, {}, False),
    "not-wanted": ({"cache_features": False}, {}, False),
    "augmented": ({}, {"flip": 0.5}, False),
    "views": ({"views": 2}, {"flip": 0.5}, True),
    "partial": ({"train_from": "layer3"}, {}, True),
    "gradual": ({"stages": [["head", 1], ["layer4", None]]}, {}, True),
    "gradual-to-all": ({"stages": [["head", 1], ["all", None]]}, {}, False),
}


@pytest.mark.parametrize(("method", "augment", "cached"), FEATURES.values(), ids=FEATURES)
def test_set_up_compute__caches_features_that_stay_the_same(
    method: dict[str, Any], augment: dict[str, Any], cached: bool, settings: dict[str, Any]
) -> None:
    trainer = settings["trainer"] | {"precision": "32-true", "keep_memory": False}
    data = settings["data"]["augment"] | augment

    compute = factory.set_up_compute(trainer, settings["method"] | method, data)

    assert (compute.accelerator, compute.precision, compute.keeps_memory) == ("cpu", "32-true", False)
    assert compute.caches_features == cached
    assert compute.fuses_norms == (cached and learns(settings["method"] | method) == HEAD)
    in_16_bits = factory.set_up_compute(trainer | {"precision": "bf16-mixed"}, settings["method"] | method, data)
    assert (in_16_bits.caches_features, in_16_bits.fuses_norms) == (cached, False)


@pytest.mark.parametrize(("freeze", "precision"), [(True, "32-true"), (False, "bf16-mixed")])
def test_set_up_compute__a_frozen_backbone_is_in_float32(
    freeze: bool, precision: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "computes_bfloat16", lambda accelerator: True)
    trainer, method = settings["trainer"] | {"precision": "auto"}, settings["method"] | {"freeze": freeze}
    assert factory.set_up_compute(trainer, method, settings["data"]["augment"]).precision == precision


@pytest.mark.parametrize("possible", [False, True])
def test_set_up_compute__keeps_memory_if_the_c_library_can(
    possible: bool, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "keep_freed_memory", lambda: possible)
    tables = settings["trainer"] | {"keep_memory": True}, settings["method"], settings["data"]["augment"]
    assert factory.set_up_compute(*tables).keeps_memory == possible


def test_set_up_compute__threads_of_an_earlier_run_are_forgotten(settings: dict[str, Any]) -> None:
    tables = settings["method"], settings["data"]["augment"]
    factory.set_up_compute(settings["trainer"] | {"num_threads": factory.THREADS + 1}, *tables)
    assert torch.get_num_threads() == factory.THREADS + 1
    factory.set_up_compute(settings["trainer"] | {"num_threads": None}, *tables)
    assert torch.get_num_threads() == factory.THREADS


@pytest.mark.parametrize(
    ("setting", "deterministic", "expected"),
    [("auto", False, True), ("auto", True, False), (True, True, True), (False, False, False)],
)
def test_unless_deterministic(setting: bool | str, deterministic: bool, expected: bool) -> None:
    assert hardware.unless_deterministic(setting, deterministic) is expected


def test_class_weights__balanced_as_scikit_learn_has_it() -> None:
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert class_weights("balanced", labels, 3) == pytest.approx(expected.tolist())
    assert class_weights(None, labels, 3) is None
    assert class_weights([1, 2, 3], labels, 3) == [1, 2, 3]
    with pytest.raises(ValueError, match=r"every class for balanced weights, got \[3, 1, 2, 0\] images"):
        class_weights("balanced", labels, 4)


WRONG = {
    "network": (("model", "name"), "resnet19", "resnet18"),
    "weights": (("model", "weights"), "IMAGENET", "IMAGENET1K_V1"),
    "optimizer": (("optimizer", "name"), "Adamm", "`Adam`"),
    "scheduler": (("scheduler", "name"), "StepLRR", "`StepLR`"),
    "size": (("data", "image_size"), 8, "does not take images of 8 x 8 pixels"),
}


@pytest.mark.parametrize(("key", "value", "match"), WRONG.values(), ids=WRONG)
def test_make_network__what_does_not_fit_fails_here(
    key: tuple[str, str], value: Any, match: str, settings: dict[str, Any]
) -> None:
    settings["model"] |= {"name": "vgg11", "weights": None} if key[1] == "image_size" else {"weights": None}
    settings[key[0]][key[1]] = value
    with pytest.raises(ValueError, match=match):
        factory.make_network(settings, "val", channels_last=False)


def test_make_data__the_folder_must_be_there_if_nothing_fills_it_D22(settings: dict[str, Any], tmp_path: Path) -> None:
    """A run makes its data module before it downloads weights."""
    data = settings["data"] | {"root": str(tmp_path / "typo")}
    with pytest.raises(FileNotFoundError, match=r"Expected a folder of images at .*typo, found nothing"):
        factory.make_data(data | {"source": "folder"}, seed=0, channels_last=False)
    factory.make_data(data | {"source": "phantom"}, seed=0, channels_last=False)


def test_provide__draws_phantoms_once(settings: dict[str, Any], tmp_path: Path) -> None:
    data = settings["data"] | {"root": str(tmp_path / "images"), "phantoms_per_class": 5, "phantom_size": 32}
    factory.provide(data)
    drawn = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*.png")}
    assert len(drawn) == 20
    factory.provide(data)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "images").rglob("*.png")} == drawn


def test_provide__a_failed_download_names_the_absent_folder(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ConnectionError("No network.")
    monkeypatch.setattr("brain_tumor_tl.data.sources.download.fetch", Mock(side_effect=error))
    data = settings["data"] | {"source": "kaggle", "root": str(tmp_path / "absent")}
    with pytest.raises(ConnectionError, match=r"There is no folder .*absent, so its .* downloaded\. No network\."):
        factory.provide(data)
    factory.provide(data | {"source": "folder"})  # left to the index, which says what is expected
