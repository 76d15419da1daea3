"""Own test: a run's test split evaluated again as it was at the end of training: same weights, batches and rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from brain_tumor_tl.data.batches import Batches, monitored_batch_size, resident
from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.data.splits.groups import Indices
from brain_tumor_tl.inference.run_folder import finished_results
from brain_tumor_tl.inference.run_images import RunImages
from brain_tumor_tl.inference.trained_run import TrainedRun, device_of
from brain_tumor_tl.model.features import CPU_CHUNK, GPU_CHUNK, features_key, from_stored, load_features
from brain_tumor_tl.model.freezing import Freezing
from brain_tumor_tl.reporting.predictions import read_predictions
from brain_tumor_tl.run import hardware


def open_as_trained(folder: Path, device: str = "auto") -> TrainedRun:
    """Open a run with the precision and layout of its training, on a GPU with TensorFloat-32 for this process if so.

    Args:
        folder: The run's folder.
        device: "auto" for the kind of device that it was trained on if there is one, else "cpu", "cuda" or "mps".
    """
    environment = finished_results(folder).get("environment") or {}
    of_training = device == "auto" and environment.get("accelerator") == "cpu"
    kind = "cpu" if of_training else device_of(device).type
    precision = environment.get("precision", "auto")
    if precision == "16-mixed" and kind == "cpu":  # which has no float16
        precision = "auto"
    run = TrainedRun(folder, kind, precision, environment.get("channels_last"))
    if kind == "cuda" and environment.get("accelerator") == "cuda":
        hardware.set_tf32(run.results["config"]["trainer"])
    return run


def positions_of_test(run: TrainedRun, images: RunImages) -> Indices:
    """Return the positions of the images that a run was tested on, ascending.

    They are its test split, or what `trainer.limit_test_batches` took of it.
    """
    positions = images.of("test")
    if not run.results["protocol"].get("limited"):
        return positions
    tested = set(read_predictions(run.folder))
    return np.array([position for position in positions if printable(images.index.paths[position]) in tested], np.int64)


def logits_as_trained(run: TrainedRun, images: RunImages, positions: Indices, cache_dir: Path) -> Tensor:
    """Return the logits of some of a run's images, float32 `(N, K)`, in the batches of the run's own test.

    On the device that the run was tested on they are the same, bit for bit.

    Args:
        run: As `open_as_trained` returns it.
        images: All images of the run.
        positions: Which of them, ascending.
        cache_dir: Folder of the cache.
    """
    settings, cached = run.results["config"], bool(run.results["features"]["cached"])
    freezing = freezing_of(run)
    pixels = resident(torch.from_numpy(images.decoded.array), run.device)
    labels, everything = torch.from_numpy(images.index.labels), torch.arange(len(pixels))
    gpu, count, features = run.device.type == "cuda", len(pixels), cached and freezing.head_only
    size = monitored_batch_size(settings["trainer"], settings["data"]["batch_size"], count, features, gpu)
    where = pixels.device
    batches = Batches(pixels, labels.to(where), everything.to(where), size, device=run.device, prepare=run.normalize)
    with torch.inference_mode():
        if cached:
            kept, layout = kept_outputs(run, freezing, images, batches, cache_dir), run.normalize.layout
            channels_last = layout == torch.channels_last
            batches = Batches(
                kept,
                labels,
                everything,
                size,
                device=run.device,
                prepare=None if kept.ndim == 2 else lambda stored: from_stored(stored, channels_last),
                reads_ahead=kept.ndim > 2,
            )
        return torch.cat([logits_of(run, inputs, freezing) for inputs, _, _ in batches.of(positions)])


def freezing_of(run: TrainedRun) -> Freezing:
    """Return which layers of a run's backbone were frozen; those of earlier versions were frozen as a whole or not."""
    method = run.results["config"]["method"]
    return Freezing(run.backbone, method["freeze"], method.get("train_from"), method.get("stages"))


def logits_of(run: TrainedRun, inputs: Tensor, freezing: Freezing | None = None) -> Tensor:
    """Return the logits of a network's inputs, `(B, 3, H, W)`, or of what is kept of them; the head is in float32."""
    with hardware.autocast(run.device, run.precision):
        features = run.backbone(inputs) if freezing is None else freezing.features(inputs)
    logits: Tensor = run.head(features.float())
    return logits


def kept_outputs(run: TrainedRun, freezing: Freezing, images: RunImages, batches: Batches, cache_dir: Path) -> Tensor:
    """Return the frozen part's output for all images, as stored, computed in the batches of training or cached."""
    environment, settings = run.results["environment"], run.results["config"]
    fuses = bool(environment.get("fuses_norms")) and run.device.type == "cpu"
    how = {
        "precision": run.precision,
        "channels_last": run.normalize.layout == torch.channels_last,
        "accelerator": run.device.type,
        "fuses_norms": fuses,
    }
    weights, normalize = environment["digests"]["weights"], settings["data"]["normalize"]
    chunk = CPU_CHUNK if run.device.type == "cpu" else GPU_CHUNK
    decoded, before = images.decoded.path.name, freezing.kept_before
    found = load_features(
        freezing.kept_part(),
        replace(batches, batch_size=chunk, reads_ahead=batches.inputs.device.type == "cpu"),
        len(images.index),
        key=features_key(decoded, normalize, settings["model"], weights, how, before),
        cache_dir=cache_dir,
        precision=hardware.autocast(run.device, run.precision),
        fuse=fuses,
    )
    return torch.from_numpy(found.array)
