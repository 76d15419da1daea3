"""Build: a checked configuration becomes the parts of a run: plan, data module, network, Trainer."""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl.data.augment import Augmentation
from brain_tumor_tl.data.module import TumorData
from brain_tumor_tl.data.splits.protocol import Protocol
from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.run import hardware
from brain_tumor_tl.run.checkpoints import Checkpoints
from brain_tumor_tl.run.progress import ProgressBar
from brain_tumor_tl.run.recorder import EpochRecorder

GPU_MONITORED = 256  # images of a monitored part that a GPU looks at together


@dataclass(frozen=True)
class Plan:
    """What a run computes on, once nothing is left to choose."""

    accelerator: str
    precision: str
    channels_last: bool
    cached: bool
    keeps_memory: bool
    fuses_norms: bool  # for the features' one pass


def make_plan(config: DictConfig) -> Plan:
    """Choose what the configuration leaves to the machine."""
    accelerator = hardware.resolve_accelerator(config.trainer.accelerator)
    precision = hardware.resolve_precision(config.trainer.precision, accelerator)
    channels_last = hardware.resolve_channels_last(config.trainer.channels_last, precision, accelerator)
    fixed = config.method.freeze and augmentation(config).does_nothing
    cached = bool(fixed and config.method.cache_features in ("auto", True))
    keeps_memory = accelerator == "cpu" and config.trainer.keep_memory
    # Float32 on a processor alone: 16 bits would round every map otherwise, and on a GPU nobody has measured it.
    fuses_norms = cached and accelerator == "cpu" and precision == "32-true"
    return Plan(accelerator, precision, channels_last, cached, keeps_memory, fuses_norms)


def augmentation(config: DictConfig) -> Augmentation:
    """Return how training images are changed at random."""
    return Augmentation(**config.data.augment)


def build_data(config: DictConfig, plan: Plan) -> TumorData:
    """Build the data module; nothing is read yet."""
    data = config.data
    return TumorData(
        Path(data.root).expanduser(),
        OmegaConf.to_container(data.classes),  # type: ignore[arg-type]  # a list of lists, by the schema
        image_size=data.image_size,
        batch_size=data.batch_size,
        normalize=data.normalize,
        cache_dir=Path(data.cache_dir).expanduser(),
        seed=config.seed,
        protocol=make_protocol(data),
        augmentation=augmentation(config),
        labels=expanded(data.labels),
        patients=expanded(data.patients),
        find_copies=data.find_copies,
        shuffle_labels=data.shuffle_labels,
        on_bad_file=data.on_bad_file,
        channels_last=plan.channels_last,
    )


def make_protocol(data: DictConfig) -> Protocol:
    """Return how the images are to be split."""
    return Protocol(
        data.split,
        test_fraction=data.test_fraction,
        val_fraction=data.val_fraction,
        stratify=data.stratify,
        fold=data.fold,
        folds=data.folds,
        fold_by=data.fold_by,
        drop_conflicts=data.drop_conflicts,
    )


def expanded(path: str | None) -> Path | None:
    """Return a path with the home folder in place of its tilde, None for none."""
    return None if path is None else Path(path).expanduser()


def build_model(config: DictConfig, monitored: str) -> TumorClassifier:
    """Build the network, its weights read or downloaded."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    weighted = plain["loss"]["class_weights"]
    classes = [names[0] for names in plain["data"]["classes"]]
    return TumorClassifier(
        plain["model"]["name"],
        classes,
        weights=plain["model"]["weights"],
        options=plain["model"]["options"],
        freeze=plain["method"]["freeze"],
        optimizer=plain["optimizer"]["name"],
        lr=plain["optimizer"]["lr"],
        optimizer_options=plain["optimizer"]["options"],
        fused=plain["trainer"]["gradient_clip_val"] is None,  # Lightning clips no gradients of a fused optimizer
        scheduler=plain["scheduler"]["name"],
        scheduler_interval=plain["scheduler"]["interval"],
        scheduler_options=plain["scheduler"]["options"],
        class_weights=[1.0] * len(classes) if weighted == "balanced" else weighted,
        label_smoothing=plain["loss"]["label_smoothing"],
        monitored=monitored,
        seed=plain["seed"],
    )


def provide(config: DictConfig) -> None:
    """Make the images be there: download, convert or draw them where the configuration says so and they are absent."""
    root = Path(config.data.root).expanduser()
    if root.exists() or config.data.source == "folder":
        return
    if config.data.source == "kaggle":
        from brain_tumor_tl.data.sources.download import fetch

        try:
            fetch(root, config.data.url)
        except ConnectionError as error:
            raise ConnectionError(f"There is no folder {root}, so its images were to be downloaded. {error}") from error
    elif config.data.source == "matlab":
        from brain_tumor_tl.data.sources.matlab import convert

        convert(Path(config.data.matlab).expanduser(), root)
    else:
        from brain_tumor_tl.data.sources.phantom import write_phantoms

        write_phantoms(root, config.data.phantoms_per_class, config.data.phantom_size, seed=0)


def weigh_classes(model: TumorClassifier, data: TumorData, weights: Any) -> None:
    """Set balanced class weights, images / (classes x images of the class), from the training part."""
    if weights != "balanced":
        return
    assert model.class_weights is not None
    counts = torch.bincount(data.labels[torch.from_numpy(data.split.train)], minlength=len(model.classes))
    if (counts == 0).any():
        raise ValueError(
            f"Expected every class in the training part for balanced weights, got {counts.tolist()} images."
        )
    model.class_weights.copy_(counts.sum() / (len(counts) * counts))


def build_trainer(config: DictConfig, plan: Plan, folder: Path, recorder: EpochRecorder) -> L.Trainer:
    """Build Lightning's Trainer with the run's callbacks and its TensorBoard log."""
    quiet_lightning()
    ask_for_devices_quickly()
    t = config.trainer
    if plan.accelerator == "cuda":
        allow_tf32(unless_deterministic(t.tf32, t.deterministic))
    kept = Checkpoints(folder / "checkpoints", f"{recorder.monitored}/accuracy", config.method.freeze)
    callbacks: list[L.Callback] = [recorder, kept]
    if t.enable_progress_bar:
        callbacks.append(ProgressBar(recorder.monitored))
    trainer = L.Trainer(
        accelerator=plan.accelerator,
        devices=devices(t.devices),
        num_nodes=t.num_nodes,
        strategy=t.strategy,
        precision=plan.precision,  # type: ignore[arg-type]  # one of Lightning's names, by the schema
        max_epochs=t.max_epochs,
        max_steps=t.max_steps,
        max_time=t.max_time,
        limit_train_batches=t.limit_train_batches,
        limit_val_batches=t.limit_val_batches,
        limit_test_batches=t.limit_test_batches,
        gradient_clip_val=t.gradient_clip_val,
        gradient_clip_algorithm=t.gradient_clip_algorithm,
        accumulate_grad_batches=t.accumulate_grad_batches,
        check_val_every_n_epoch=t.check_val_every_n_epoch,
        sync_batchnorm=t.sync_batchnorm,
        deterministic=t.deterministic,
        benchmark=unless_deterministic(t.benchmark, t.deterministic),
        log_every_n_steps=1,  # rows are written once an epoch; Lightning else warns of short epochs
        detect_anomaly=t.detect_anomaly,
        profiler=t.profiler,
        callbacks=callbacks,
        logger=TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False),
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    refuse_devices_in_process(trainer.num_devices)
    return trainer


def unless_deterministic(setting: bool | str, deterministic: bool) -> bool:
    """Return a setting that trades repeatability for speed; "auto" stands aside where a run is to be deterministic."""
    return not deterministic if setting == "auto" else bool(setting)


def allow_tf32(allowed: bool) -> None:
    """Let a GPU round the factors of float32 products to TensorFloat-32, or forbid it."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def monitored_batch_size(config: DictConfig, plan: Plan, images: int) -> int:
    """Return how many images of a monitored part to look at at a time; it changes no result, only the speed.

    All features at once, or as many images as keep a GPU busy; the user's batches where the user counts them.
    """
    counted = any(config.trainer[f"limit_{part}_batches"] is not None for part in ("val", "test"))
    if counted:
        return int(config.data.batch_size)
    if plan.cached:
        return max(images, 1)
    return max(config.data.batch_size, GPU_MONITORED) if plan.accelerator == "cuda" else int(config.data.batch_size)


def takes_blocks(config: DictConfig, plan: Plan, trainer: L.Trainer) -> bool:
    """Tell whether many steps can go by at a time: where steps are short, and nothing asks for a look at each."""
    t = config.trainer
    short = plan.cached or plan.accelerator == "cuda"
    whole = t.max_steps == -1 and t.limit_train_batches is None and t.accumulate_grad_batches == 1
    plain = t.gradient_clip_val is None and not t.detect_anomaly and plan.precision != "16-mixed"
    return short and whole and plain and trainer.world_size == 1


def ask_for_devices_quickly() -> None:
    """Let PyTorch ask CUDA itself whether there is a GPU, where there is none.

    Lightning makes it ask NVML, which Adam does at each step: 0.12 ms where NVML's library is absent, half of what the
    step of a linear head takes.
    """
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"


def quiet_lightning() -> None:
    """Keep what nobody can act on off the terminal: Lightning's greetings, and warnings about what is intended here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="Found .* module.s. in eval mode")  # a frozen backbone is meant to be
    warnings.filterwarnings("ignore", message="`isinstance.treespec, LeafSpec.` is deprecated")  # Lightning's own call
    warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")  # its first steps
    warnings.filterwarnings("ignore", message=".*does not have many workers")  # there are none by design


def devices(setting: Any) -> Any:
    """Return `trainer.devices` for Lightning; `auto` is one device in a multirun that runs jobs in one process."""
    if setting == "auto" and in_process_multirun():
        return 1
    return OmegaConf.to_container(setting) if OmegaConf.is_config(setting) else setting


def in_process_multirun() -> bool:
    """Tell whether this job is one of a multirun whose jobs share this process, as SLURM's don't."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    return not str(HydraConfig.get().launcher["_target_"]).endswith("SlurmLauncher")


def refuse_devices_in_process(count: int) -> None:
    """Raise a ValueError where Lightning would start processes that each run the whole multirun."""
    if count > 1 and in_process_multirun():
        raise ValueError(
            f"Expected one device for a job of a multirun that shares its process with others, got {count}: "
            "the further processes would run the whole multirun. Give trainer.devices=1, or start the jobs one by one."
        )
