"""Factory: the tables of a run's settings become its parts. Nothing else reads the settings one by one."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler

from brain_tumor_tl.data.augment import Augmentation
from brain_tumor_tl.data.layout import existing_root
from brain_tumor_tl.data.module import TumorData
from brain_tumor_tl.data.splits.protocol import Protocol
from brain_tumor_tl.model import backbone
from brain_tumor_tl.model.backbone import Cut, build_network, feature_count
from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.model.freezing import ALL, HEAD, Freezing, learns
from brain_tumor_tl.model.loss import class_weights
from brain_tumor_tl.model.optim import check_learning
from brain_tumor_tl.model.parameter_groups import factors_in_use, first_parameters
from brain_tumor_tl.model.steps import Blocks
from brain_tumor_tl.run import hardware
from brain_tumor_tl.run.averaging import AveragedWeights
from brain_tumor_tl.run.callbacks import EpochRecorder, ProgressBar
from brain_tumor_tl.run.checkpoints import Checkpoints, PlainFiles
from brain_tumor_tl.run.stopping import Patience

Settings = Mapping[str, Any]
THREADS = torch.get_num_threads()  # PyTorch's own choice, which an earlier run in the process may have changed
INTENDED = (  # warnings about what is meant to be
    "Found .* module.s. in eval mode",  # a frozen backbone
    "`isinstance.treespec, LeafSpec.` is deprecated",  # Lightning's own call
    "This instance was constructed with capturable=True",  # the first steps of an optimizer in a CUDA graph
    ".*configure_optimizers.* returned .None.",  # a head that is fitted
    ".*does not have many workers",  # there are none
)

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}
PROFILE = "profile"  # the profilers' files: fit-profile.txt, test-profile.txt
# What the Trainer takes from the settings as it is.
TRAINER_KEYS = (
    "num_nodes", "strategy", "max_epochs", "max_steps", "max_time", "limit_train_batches", "limit_val_batches",
    "limit_test_batches", "gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches",
    "check_val_every_n_epoch", "sync_batchnorm", "deterministic", "detect_anomaly",
)  # fmt: skip

# What the data module takes from the settings as it is, and as a path.
DATA_KEYS = (
    "classes", "image_size", "batch_size", "normalize", "patients", "merge_scans", "find_copies", "shuffle_labels",
    "on_bad_file", "intensity", "slices",
)  # fmt: skip
DATA_PATHS = ("root", "cache_dir", "labels")


@dataclass(frozen=True)
class Compute:
    """What a run computes on and how, with nothing left to choose."""

    accelerator: str
    precision: str
    channels_last: bool
    keeps_memory: bool
    caches_features: bool
    fuses_norms: bool  # in the pass that computes the features


def set_up_compute(trainer: Settings, method: Settings, augment: Settings) -> Compute:
    """Choose what the settings leave to the machine, and make all settings of the whole process."""
    torch.set_num_threads(trainer["num_threads"] or THREADS)
    quiet_lightning()
    hardware.leave_slurm(os.environ)
    if not torch.cuda.is_available():
        # Lightning makes PyTorch ask NVML for GPUs, and Adam asks at each step: 0.12 ms if NVML's library is absent,
        # half the time of a linear head's step.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    accelerator = hardware.resolve_accelerator(trainer["accelerator"])
    if accelerator == "cuda":
        hardware.set_tf32(trainer)
    precision = hardware.resolve_precision(trainer["precision"], accelerator, learns(method) == HEAD)
    channels_last = hardware.resolve_channels_last(trainer["channels_last"], precision, accelerator)
    keeps_memory = accelerator == "cpu" and trainer["keep_memory"] and hardware.keep_freed_memory()
    fixed = learns(method) != ALL and (Augmentation(**augment).does_nothing or method["views"] > 1)
    caches = bool(fixed and method["cache_features"] in ("auto", True))
    # Only in float32 on a processor: 16 bits would round every map differently, and a GPU was not measured. Not before
    # layers that learn, which would make much of a rounding in the first steps.
    fuses = caches and accelerator == "cpu" and precision == "32-true" and learns(method) == HEAD
    return Compute(accelerator, precision, channels_last, keeps_memory, caches, fuses)


def check_inputs(settings: Settings) -> None:
    """Check the path of the images, the device and the path of the weights, without loading anything.

    A mistake in one of them makes the settings differ from those of the folder's run, and is what the user should read.

    Raises:
        ValueError: There is no such device, or no such weights.
        FileNotFoundError: There is no such folder.
    """
    if settings["data"]["source"] == "folder":
        existing_root(settings["data"]["root"])
    hardware.resolve_accelerator(settings["trainer"]["accelerator"])
    if (name := settings["model"]["name"]) in backbone.names():
        backbone.pretrained_weights(name, settings["model"]["weights"])


def provide(data: Settings) -> None:
    """Ensure that the images exist: download, convert or draw them if they are absent and the settings say so."""
    root = Path(data["root"]).expanduser()
    if root.exists() or data["source"] == "folder":
        return
    if data["source"] == "kaggle":
        from brain_tumor_tl.data.sources.download import fetch

        try:
            fetch(root, data["url"])
        except ConnectionError as error:
            raise ConnectionError(f"There is no folder {root}, so its images were to be downloaded. {error}") from error
    elif data["source"] == "matlab":
        from brain_tumor_tl.data.sources.matlab import convert

        convert(Path(data["matlab"]).expanduser(), root)
    else:
        from brain_tumor_tl.data.sources.phantom import write_phantoms

        write_phantoms(root, data["phantoms_per_class"], data["phantom_size"], seed=0)


def make_data(data: Settings, seed: int, channels_last: bool) -> TumorData:
    """Make the data module; nothing is read yet, but a folder that no source fills must be there.

    Raises:
        FileNotFoundError: It is not. This is known before any weights are downloaded.
    """
    if data["source"] == "folder":
        existing_root(data["root"])
    paths: dict[str, Any] = {name: data[name] and Path(data[name]).expanduser() for name in DATA_PATHS}
    return TumorData(
        **paths,
        **{name: data[name] for name in DATA_KEYS},
        protocol=Protocol(**{field.name: data[field.name] for field in fields(Protocol)}),
        augmentation=Augmentation(**data["augment"]),
        seed=seed,
        channels_last=channels_last,
    )


def make_network(settings: Settings, monitored: str, channels_last: bool) -> tuple[Cut, int]:
    """Build the network, reading or downloading its weights; return it and its number of features.

    Args:
        settings: The run's.
        monitored: The split evaluated after each epoch, which a scheduler may go by.
        channels_last: Whether its weights are laid out with channels last.

    Raises:
        ValueError: The network, its weights, options or image size, the optimizer or the scheduler don't exist or fit.
    """
    model, optimizer = settings["model"], settings["optimizer"]
    s = settings["scheduler"]
    scheduler = s["name"], s["options"], s["interval"], s["monitor"]
    lr, factors = optimizer["lr"], optimizer["backbone_lr_factor"]
    in_use = (1.0,) if settings["method"]["freeze"] else factors_in_use(factors)
    check_learning(optimizer["name"], lr, optimizer["options"], *scheduler, monitored, in_use)
    classes = [names[0] for names in settings["data"]["classes"]]
    network = build_network(model["name"], classes, model["weights"], model["options"], head=settings.get("head"))
    if isinstance(factors, Mapping):
        first_parameters(network.backbone, factors)  # so that an unknown module is told before images are read
    if channels_last:
        network.backbone.to(memory_format=torch.channels_last)
        network.head.to(memory_format=torch.channels_last)
    return network, feature_count(model["name"], network.backbone, settings["data"]["image_size"])


def frozen_by(method: Settings) -> dict[str, Any]:
    """Return the arguments of `Freezing` that a method gives."""
    return {"freeze": method["freeze"], "train_from": method["train_from"], "stages": method["stages"]}


def make_model(
    settings: Settings, network: Cut, freezing: Freezing, data: TumorData, blocks: Blocks | None
) -> TumorClassifier:
    """Make the module that trains a network on the data's training split."""
    model, optimizer, scheduler, loss = (settings[name] for name in ("model", "optimizer", "scheduler", "loss"))
    classes = data.index.classes
    return TumorClassifier(
        model["name"],
        classes,
        weights=model["weights"],
        options=model["options"],
        head=settings.get("head"),
        **frozen_by(settings["method"]),
        optimizer=optimizer["name"],
        lr=optimizer["lr"],
        optimizer_options=optimizer["options"],
        backbone_lr_factor=optimizer["backbone_lr_factor"],
        fused=settings["trainer"]["gradient_clip_val"] is None,  # Lightning clips no gradients of a fused optimizer
        scheduler=scheduler["name"],
        scheduler_interval=scheduler["interval"],
        scheduler_options=scheduler["options"],
        scheduler_monitor=scheduler["monitor"],
        class_weights=class_weights(loss["class_weights"], data.labels[data.split.train], len(classes)),
        label_smoothing=loss["label_smoothing"],
        mixup=data.augmentation.mixup,
        cutmix=data.augmentation.cutmix,
        monitored=data.monitored,
        seed=settings["seed"],
        preprocessing=data.preprocessing(),
        blocks=blocks,
        network=network,
        freezing=freezing,
        to_loggers=False,  # EpochRecorder writes them, by epochs and with times
    )


def make_trainer(
    trainer: Settings, compute: Compute, folder: Path, recorder: EpochRecorder, checkpoints: Checkpoints, done: int = 0
) -> L.Trainer:
    """Make Lightning's Trainer with the run's callbacks.

    Args:
        trainer: Its settings.
        compute: What it computes on.
        folder: The run's folder.
        recorder: Writes a row for each epoch.
        checkpoints: Writes the weights.
        done: Epochs that a resumed run has behind it; what TensorBoard has of later ones is taken back.
    """
    recorder.events.resumed_after = done
    further: list[L.Callback] = [ProgressBar(recorder)] if trainer["enable_progress_bar"] else []
    if trainer["ema"]:
        further.append(AveragedWeights(trainer["ema"]))
    if trainer["patience"]:
        further.append(Patience(checkpoints.monitor, trainer["patience"]))
    made = L.Trainer(
        accelerator=compute.accelerator,
        devices=1 if trainer["devices"] == "auto" and in_process_multirun() else trainer["devices"],
        precision=compute.precision,  # type: ignore[arg-type]  # one of Lightning's names, by the schema
        benchmark=hardware.unless_deterministic(trainer["benchmark"], trainer["deterministic"]),
        **{name: trainer[name] for name in TRAINER_KEYS},
        log_every_n_steps=1,  # rows are written once an epoch; otherwise Lightning warns of short epochs
        callbacks=[recorder, checkpoints, *further],
        plugins=[PlainFiles()],
        logger=False,  # the recorder writes TensorBoard's files
        profiler=PROFILERS[trainer["profiler"]](folder, PROFILE) if trainer["profiler"] else None,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    check_devices_in_process(made.num_devices)
    if compute.accelerator == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # needed by the next call, which doesn't do it itself
        torch.cuda.reset_peak_memory_stats(made.strategy.root_device)
    return made


def quiet_lightning() -> None:
    """Hide Lightning's greetings, and warnings about what is intended here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in INTENDED:
        warnings.filterwarnings("ignore", message=message)


def in_process_multirun() -> bool:
    """Tell whether this is a job of a multirun whose jobs share this process, unlike SLURM's."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    return not str(HydraConfig.get().launcher["_target_"]).endswith("SlurmLauncher")


def check_devices_in_process(count: int) -> None:
    """Raise a ValueError if Lightning would start processes that each run the whole multirun."""
    if count > 1 and in_process_multirun():
        raise ValueError(
            f"Expected one device for a job of a multirun that shares its process with others, got {count}: "
            "the further processes would run the whole multirun. Give trainer.devices=1, or start the jobs one by one."
        )
