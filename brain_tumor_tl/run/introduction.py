"""Introduction: what a run tells of its data, network, device and split before it trains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor_tl.run import hardware
from brain_tumor_tl.run.folder import flat

if TYPE_CHECKING:
    from brain_tumor_tl.run.training_run import TrainingRun


def introduction(run: TrainingRun) -> Iterator[tuple[str, str]]:
    """Yield what is printed of data, cache, network, device and split of the run."""
    folder = run.folder.relative_to(Path.cwd()) if run.folder.is_relative_to(Path.cwd()) else run.folder
    yield "Run", f"{folder}; its config.yaml has every setting (-v prints them)"
    yield "Settings", changes(run) or "the defaults"
    images, index = run.data.images, run.data.index
    source = "SYNTHETIC phantoms (they prove nothing about MRI)" if run.synthetic else "images"
    counts = ", ".join(f"{count} {name}" for name, count in run.counts.items() if count)
    yield "Data", f"{len(index)} {source} from {index.root}: {counts}"
    how = "made in" if images.built else "opened from"
    size, least = run.settings["data"]["batch_size"], run.least
    if (rest := run.counts["train"] % size) and rest < least:
        yield "Batches", f"of {size} images; the last of each epoch, of {rest}, is left out (data.drop_last)"
    if run.counts["train"] < size:
        yield "Batches", f"one of {rest} images, since data.batch_size={size} is more than the training split has"
    yield "Cache", f"{images.megabytes():.0f} MB of decoded images {how} {images.path}"
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
    yield "Training", f"{trainer['max_epochs']} epochs, batches of {size}, {optimizer['name']} at {optimizer['lr']:g}"


def changes(run: TrainingRun) -> str:
    """Return the choices and keys that differ from the defaults, as they are typed; empty if there are none."""
    values = {**flat(run.settings), **run.origin.get("choices", {})}
    return " ".join(f"{key}={shown(values.get(key))}" for key in run.origin.get("changed", ()))


def shown(value: object) -> object:
    """Return a value as it is typed."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else value
