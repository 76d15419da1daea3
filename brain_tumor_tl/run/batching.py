"""Batching: how many images are taken together, in a training step and in a block of steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brain_tumor_tl.console import log
from brain_tumor_tl.data.batches import images_used
from brain_tumor_tl.data.module import TumorData
from brain_tumor_tl.model.backbone import trains_on_one_image
from brain_tumor_tl.model.freezing import Freezing
from brain_tumor_tl.model.heads import is_fitted
from brain_tumor_tl.model.steps import WITHOUT_GRAPHS, Blocks
from brain_tumor_tl.run.factory import Compute

Settings = Mapping[str, Any]


def images_needed(settings: Settings, freezing: Freezing, images: int, devices: int) -> int:
    """Return how many images a training batch needs, over all devices; a last batch with fewer is to be left out.

    Args:
        settings: The run's.
        freezing: Its backbone, without values, shows whether BatchNorm layers could train on one image.
        images: In the training split.
        devices: That a batch is divided among.

    Raises:
        ValueError: No batch would be left, or a batch has one image for a device and the network can't train on it.
    """
    data, size = settings["data"], settings["data"]["batch_size"]
    min_images = size if data["drop_last"] is True else devices
    last = images_used(images, size, min_images) % size or min(size, images)  # images in the smallest batch
    if images < min_images:
        raise ValueError(
            f"The training split has {images} images, which gives no batch of data.batch_size={size} images. Give a "
            "smaller data.batch_size, or data.drop_last=auto."
        )
    if last >= 2 * devices or freezing.head_only or trains_on_one_image(freezing.backbone, data["image_size"]):
        return min_images
    if data["drop_last"] == "auto" and min(size, images) >= 2 * devices:
        return 2 * devices
    raise ValueError(
        f"{settings['model']['name']} can't train on a single image of {data['image_size']} pixels: its last maps are "
        f"1 x 1, and BatchNorm needs two values. {images} training images in batches of {size} on {devices} device(s) "
        "leave one alone. Give data.drop_last=auto, another data.batch_size (at least 2 for each device), or a larger "
        "data.image_size."
    )


def make_blocks(
    settings: Settings, compute: Compute, freezing: Freezing, data: TumorData, world_size: int, min_images: int = 1
) -> Blocks | None:
    """Return how to train on many batches at a time; None if steps are long, or something must happen at each step.

    Args:
        settings: The run's.
        compute: What it computes on.
        freezing: Which layers learn.
        data: After `setup`.
        world_size: Number of processes.
        min_images: Images that a training batch needs.
    """
    t, batch_size = settings["trainer"], settings["data"]["batch_size"]
    whole = t["max_steps"] == -1 and t["limit_train_batches"] is None and t["accumulate_grad_batches"] == 1
    whole = whole and not is_fitted(settings.get("head"))
    plain = (
        t["gradient_clip_val"] is None
        and not t["find_lr"]
        and not t["detect_anomaly"]
        and compute.precision != "16-mixed"
    )
    gpu, possible = compute.accelerator == "cuda", whole and plain and world_size == 1
    graphs = t["cuda_graphs"] if t["ema"] is None else False  # a graph would repeat the first move of the average
    if t["cuda_graphs"] is True and not (gpu and possible and graphs):
        log.warning(WITHOUT_GRAPHS.format("that takes one GPU, whole epochs, and no trainer setting for each step"))
    kept = compute.caches_features
    if not possible or len(freezing.stages) > 1 or not (freezing.head_only if kept else gpu):
        return None
    steps = -(-images_used(len(data.split.train), batch_size, min_images) // batch_size)
    return Blocks(batch_size, steps, None if kept else data.prepare_training, graphs)
