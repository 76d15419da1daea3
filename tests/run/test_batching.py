"""Batching: how many images are taken together, and which batches no network could train on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from torch import nn

from brain_tumor_tl.model.backbone import build
from brain_tumor_tl.model.freezing import Freezing
from brain_tumor_tl.run import batching
from brain_tumor_tl.run.factory import Compute

CPU = Compute("cpu", "32-true", True, False, caches_features=False, fuses_norms=False)
CACHED = Compute("cpu", "32-true", True, False, caches_features=True, fuses_norms=True)
GPU = Compute("cuda", "bf16-mixed", True, False, caches_features=False, fuses_norms=False)
FROZEN, LEARNING = Freezing(nn.Conv2d(3, 3, 1), True), Freezing(nn.Conv2d(3, 3, 1), False)

AT_EACH_STEP = {
    "max-steps": {"max_steps": 5},
    "limit": {"limit_train_batches": 2},
    "accumulation": {"accumulate_grad_batches": 2},
    "clipping": {"gradient_clip_val": 0.5},
    "anomaly": {"detect_anomaly": True},
}


@pytest.mark.parametrize("flags", AT_EACH_STEP.values(), ids=AT_EACH_STEP)
def test_make_blocks__none_if_something_must_happen_at_each_step(
    flags: dict[str, Any], settings: dict[str, Any]
) -> None:
    settings["trainer"] |= flags
    assert batching.make_blocks(settings, CACHED, FROZEN, Mock(), world_size=1) is None


def test_make_blocks__of_short_steps(settings: dict[str, Any]) -> None:
    settings["data"]["batch_size"] = 32
    data = Mock()
    data.split.train = np.arange(100)

    features = batching.make_blocks(settings, CACHED, FROZEN, data, world_size=1)
    images = batching.make_blocks(settings, GPU, LEARNING, data, world_size=1)

    assert features is not None
    assert images is not None
    assert (features.batch_size, features.steps, features.prepare) == (32, 4, None)
    assert images.prepare is data.prepare_training
    assert (features.graphs, images.graphs) == (False, False)  # unless asked for
    assert batching.make_blocks(settings, CPU, LEARNING, data, world_size=1) is None
    assert batching.make_blocks(settings, GPU, LEARNING, data, world_size=2) is None
    in_16_bits = replace(GPU, precision="16-mixed")
    assert (
        batching.make_blocks(settings, in_16_bits, LEARNING, data, world_size=1) is None
    )  # its scaler looks at each step


WITHOUT_GRAPHS: dict[str, tuple[Compute, dict[str, Any], bool]] = {
    "processor": (CACHED, {}, True),
    "clipping": (GPU, {"gradient_clip_val": 0.5}, True),
    "gpu": (GPU, {}, False),
    "auto": (CACHED, {"cuda_graphs": "auto"}, False),
}


@pytest.mark.parametrize(("compute", "flags", "warned"), WITHOUT_GRAPHS.values(), ids=WITHOUT_GRAPHS)
def test_make_blocks__cuda_graphs_that_can_not_be_are_no_silent_fallback(
    compute: Compute, flags: dict[str, Any], warned: bool, settings: dict[str, Any], messages: list[str]
) -> None:
    settings["trainer"] |= {"cuda_graphs": True} | flags
    data = Mock()
    data.split.train = np.arange(100)
    batching.make_blocks(settings, compute, FROZEN if compute is CACHED else LEARNING, data, world_size=1)
    assert any("can't be a CUDA graph and run one by one: that takes one GPU" in text for text in messages) == warned


def small_resnet() -> nn.Module:
    return build("resnet18", None).backbone  # at 32 pixels its last maps are 1 x 1


LEAST: dict[str, tuple[dict[str, Any], int, int, int]] = {  # data, images, devices, images that a batch needs
    "P8-last-of-one": ({"batch_size": 5}, 26, 1, 2),
    "P8-thirty-three": ({"batch_size": 32}, 33, 1, 2),
    "last-of-two": ({"batch_size": 5}, 27, 1, 1),
    "full": ({"batch_size": 5}, 25, 1, 1),
    "larger-maps": ({"batch_size": 5, "image_size": 64}, 26, 1, 1),
    "all-of-them": ({"batch_size": 64}, 26, 1, 1),
    "always": ({"batch_size": 5, "drop_last": True}, 27, 1, 5),
    "two-devices": ({"batch_size": 8}, 27, 2, 4),
    "two-devices-four": ({"batch_size": 8}, 28, 2, 2),
    "two-devices-one": ({"batch_size": 8}, 25, 2, 2),  # too few for the devices: left out in any case
}


@pytest.mark.parametrize(("data", "images", "devices", "expected"), LEAST.values(), ids=LEAST)
def test_images_needed(
    data: dict[str, Any], images: int, devices: int, expected: int, settings: dict[str, Any]
) -> None:
    settings["data"] |= {"image_size": 32, "drop_last": "auto"} | data
    assert batching.images_needed(settings, Freezing(small_resnet(), False), images, devices) == expected


NO_BATCH: dict[str, tuple[dict[str, Any], int, int, str]] = {
    "T03-not-dropped": ({"batch_size": 5, "drop_last": False}, 26, 1, "can't train on a single image of 32 pixels"),
    "batches-of-one": ({"batch_size": 1}, 26, 1, "another data.batch_size"),
    "one-for-each-device": ({"batch_size": 2}, 26, 2, r"\(at least 2 for each"),
    "one-image": ({"batch_size": 4}, 1, 1, "1 training images in batches of 4 on 1"),
    "none-full": (
        {"batch_size": 32, "drop_last": True},
        26,
        1,
        "26 images, which gives no batch of data.batch_size=32",
    ),
    "fewer-than-devices": ({"batch_size": 8}, 3, 4, "3 images, which gives no batch"),
}


@pytest.mark.parametrize(("data", "images", "devices", "match"), NO_BATCH.values(), ids=NO_BATCH)
def test_images_needed__no_batch_to_train_on(
    data: dict[str, Any], images: int, devices: int, match: str, settings: dict[str, Any]
) -> None:
    settings["data"] |= {"image_size": 32, "drop_last": "auto"} | data
    with pytest.raises(ValueError, match=match):
        batching.images_needed(settings, Freezing(small_resnet(), False), images, devices)


def test_images_needed__a_frozen_backbone_trains_on_one(settings: dict[str, Any]) -> None:
    settings["data"] |= {"image_size": 32, "batch_size": 5, "drop_last": "auto"}
    assert batching.images_needed(settings, Freezing(small_resnet(), True), 26, 1) == 1


def test_make_blocks__without_the_batch_that_is_left_out(settings: dict[str, Any]) -> None:
    settings["data"]["batch_size"] = 5
    data = Mock()
    data.split.train = np.arange(26)
    steps = [batching.make_blocks(settings, GPU, LEARNING, data, 1, min_images).steps for min_images in (1, 2, 5)]  # type: ignore[union-attr]
    assert steps == [6, 5, 5]


def test_make_blocks__none_where_long_steps_are_kept_or_stages_change(settings: dict[str, Any]) -> None:
    data = Mock()
    data.split.train = np.arange(26)
    cut = Freezing(small_resnet(), True, "layer3")
    stages = Freezing(small_resnet(), True, stages=[("head", 1), ("layer4", None)])
    assert batching.make_blocks(settings, CACHED, cut, data, world_size=1) is None
    assert batching.make_blocks(settings, GPU, stages, data, world_size=1) is None


def test_images_needed__a_backbone_that_is_frozen_in_part_needs_two(settings: dict[str, Any]) -> None:
    settings["data"] |= {"image_size": 32, "batch_size": 5, "drop_last": "auto"}
    assert batching.images_needed(settings, Freezing(small_resnet(), True, "layer3"), 26, 1) == 2
