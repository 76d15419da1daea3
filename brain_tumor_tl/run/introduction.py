"""Introduction: what a run prints about its data, network, device and split before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor_tl.data.batches import images_used
from brain_tumor_tl.model.parameter_groups import factors_in_use
from brain_tumor_tl.reporting.results import as_typed
from brain_tumor_tl.run import hardware
from brain_tumor_tl.run.fitted import describe_fit
from brain_tumor_tl.run.folder import flat

if TYPE_CHECKING:
    from brain_tumor_tl.run.training_run import TrainingRun


def introduction(run: TrainingRun) -> Iterator[tuple[str, str]]:
    """Yield what is printed about a run: titles and texts."""
    folder = run.folder.relative_to(Path.cwd()) if run.folder.is_relative_to(Path.cwd()) else run.folder
    yield "Run", f"{folder}; its config.yaml has every setting (-v prints them)"
    yield "Settings", changes(run) or "the defaults"
    decoded, index = run.data.images, run.data.index
    source = "SYNTHETIC phantoms (they prove nothing about MRI)" if run.synthetic else "images"
    counts = ", ".join(f"{count} {name}" for name, count in run.counts.items() if count)
    yield "Data", f"{len(index)} {source} from {index.root}: {counts}"
    how = "made in" if decoded.built else "opened from"
    size, images = run.settings["data"]["batch_size"], run.counts["train"]
    if left_out := images - images_used(images, size, run.min_images):
        yield "Batches", f"of {size} images; the last of each epoch, of {left_out}, is left out (data.drop_last)"
    if images < size:
        yield "Batches", f"one of {images} images, since data.batch_size={size} is more than the training split has"
    yield "Cache", f"{decoded.megabytes():.0f} MB of decoded images {how} {decoded.path}"
    yield from run.data.remarks()
    total = sum(p.numel() for p in run.model.parameters())
    trainable = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
    yield "Network", f"{run.settings['model']['name']}, {total:,} parameters, {trainable:,} trainable"
    layout = ", channels last" if run.compute.channels_last else ""
    yield "Device", f"{hardware.device_name(run.device)}, {run.compute.precision}{layout}"
    if run.settings["method"]["freeze"] and not run.compute.caches_features:
        yield "Features", "not cached: the backbone processes the images in every epoch"
    yield "Split", str(run.data.describe_split()["title"])
    optimizer, trainer = run.settings["optimizer"], run.settings["trainer"]
    if trainer["profiler"]:
        yield "Profile", f"where time is spent, at the end in {run.folder / 'fit-profile.txt'}"
    if run.fitter is not None:
        yield "Head", describe_fit(run.settings["head"])
        return
    factors = () if run.freezing.head_only else factors_in_use(optimizer["backbone_lr_factor"])[1:]
    slower = f", in the backbone times {', '.join(f'{factor:g}' for factor in factors)}" if factors else ""
    rate = f"{optimizer['name']} at {optimizer['lr']:g}{slower}"
    until = f", fewer if {trainer['patience']} evaluations in a row are no better" if trainer["patience"] else ""
    yield "Training", f"{trainer['max_epochs']} epochs{until}, batches of {size}, {rate}"
    if trainer["ema"]:
        yield "Weights", f"evaluated and saved as their moving average of decay {trainer['ema']:g}"


def changes(run: TrainingRun) -> str:
    """Return the choices and keys that differ from the defaults, as they are typed; empty if there are none."""
    values = {**flat(run.settings), **run.origin.get("choices", {})}
    return " ".join(f"{key}={as_typed(values.get(key))}" for key in run.origin.get("changed", ()))
