"""Config: the typed schema of `conf/`: every key's type, range and meaning. The values are in YAML."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

AUTO = ("auto", True, False)
INTENSITIES = ("auto", "range", "percentile", "file")


def conf_dir() -> Path:
    """Return the folder of the YAML files: the package's own copy in a wheel, else the checkout's `conf/`.

    Raises:
        FileNotFoundError: Neither exists, so the installation is damaged.
    """
    package = Path(__file__).resolve().parents[1]
    folders = package / "conf", package.parent / "conf"
    for folder in folders:
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"Expected the configuration in {folders[0]} or {folders[1]}, found neither. Install the package again."
    )


def config_groups() -> list[str]:
    """Return the names of the config groups; `hydra/` holds Hydra's own."""
    return sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir() and folder.name != "hydra")


def choices_of(group: str) -> list[str]:
    """Return the values that a config group can take."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def option(meaning: str, *, choices: tuple[Any, ...] = (), **bounds: float) -> Any:
    """Declare one key: its meaning for `--help` and the values it may take.

    Args:
        meaning: One sentence without a full stop.
        choices: The only values allowed; empty for any.
        bounds: `low` and `high`, the least and greatest value allowed; `above` and `below`, which exclude the bound.
    """
    return dataclasses.field(default=MISSING, metadata={"meaning": meaning, "choices": choices, "bounds": bounds})


@dataclass
class AugmentConfig:
    """Random changes of the training images; 0 turns one off."""

    flip: float = option("probability of mirroring a training image left to right", low=0, high=1)
    degrees: float = option("rotate training images by up to this many degrees in either direction", low=0, high=180)
    translate: float = option("shift training images by up to this fraction of their size", low=0, below=1)
    scale: float = option("enlarge or shrink training images by up to this fraction", low=0, below=1)
    brightness: float = option("change the brightness of training images by up to this fraction", low=0, below=1)
    contrast: float = option("change the contrast of training images by up to this fraction", low=0, below=1)


@dataclass
class DataConfig:
    """Where the images are, how they are read and how they are split."""

    source: str = option(
        "if data.root is absent, `kaggle` downloads, `matlab` converts and `phantom` draws the images; `folder` stops",
        choices=("folder", "kaggle", "matlab", "phantom"),
    )
    root: str = option("folder that holds Training/ and Testing/, train/ and test/, or the class folders")
    url: str | None = option("zip archive that data=kaggle downloads if data.root is absent")
    matlab: str | None = option("folder of the .mat files that data=figshare converts if data.root is absent")
    classes: Any = option("classes in label order: names, [cat,dog], or lists of a folder's names; null: all folders")
    image_size: int = option("height and width in pixels to which images are resized", low=8, high=4096)
    batch_size: int = option("images per optimizer step, over all devices together", low=1)
    drop_last: Any = option(
        "leave out an epoch's last batch if it is not full; auto: only if its one image would stop a BatchNorm layer",
        choices=AUTO,
    )
    normalize: str = option(
        "`unit` scales pixels to 0..1 as in the study, `imagenet` also standardizes them", choices=("unit", "imagenet")
    )
    split: str = option(
        "how images are split: `random` as in the study; `grouped` keeps copies together, `series` also neighbouring "
        "file numbers, `patients` copies and a patient's images; `official` follows the data set's own folders, "
        "`official_clean` without the images that leak; `kfold` tests on one fold (docs/protocols.md)",
        choices=("random", "grouped", "series", "patients", "official", "official_clean", "kfold"),
    )
    fold: int = option("with split=kfold, the fold that is the test split, from 0; -m data.fold=0,1,2,3,4", low=0)
    folds: int = option("with split=kfold, the number of folds", low=2)
    fold_by: str = option(
        "with split=kfold, what stays in one fold", choices=("random", "grouped", "series", "patients")
    )
    test_fraction: float = option("fraction of images in the test split, if it is drawn", above=0, below=1)
    val_fraction: float = option(
        "fraction of images in the validation split; 0: evaluate the test split each epoch", low=0, below=1
    )
    stratify: bool = option("give each split the same fraction of every class; a split by patients always does")
    labels: str | None = option("CSV file with `path`, `label` and maybe `patient`, instead of the folders' labels")
    patients: str | None = option(
        "whose images they are: CSV file with `path` and `patient`; auto: the table of data.labels or the package's own"
    )
    unknown_patients: str = option(
        "in a split by patients, `group` unknown ones by copies and series, `train_only` or `drop` their images",
        choices=("group", "train_only", "drop"),
    )
    merge_scans: bool = option("take patients whose names differ only in one last letter as one")
    drop_conflicts: bool = option("leave out images that occur under two labels, with all their copies")
    shuffle_labels: bool = option("control experiment: train on permuted labels; accuracy must drop to chance")
    find_copies: Any = option(
        "look for copies; auto: near ones, in a minute, only if the split needs them", choices=AUTO
    )
    augment: AugmentConfig = option("")
    on_bad_file: str = option(
        "if files can't be read: `error` stops, `skip` lists them in bad_files.csv", choices=("error", "skip")
    )
    slices: str = option(
        "slices of a DICOM or NIfTI volume: all, middle, numbers from 0 (40-110), part of its height (30%-70%); "
        "perhaps with /3 for every third"
    )
    intensity: str = option("rule for images of more than 8 bits (docs/data.md)", choices=INTENSITIES)
    cache_dir: str = option("folder of decoded images, features, downloads and phantoms, shared by all runs")
    phantoms_per_class: int = option("number of synthetic images that data=phantom draws per class", low=0)
    phantom_size: int = option("height and width in pixels of a synthetic image", low=0)


@dataclass
class ModelConfig:
    """The network and its initial weights."""

    name: str = option("any classification network of torchvision.models")
    weights: str | None = option("a torchvision weight name, a state dict's or checkpoint's file, or null: random")
    options: dict[str, Any] = option("further arguments of torchvision's builder (model.options.dropout=0.5)")


@dataclass
class MethodConfig:
    """How the network is transferred."""

    name: str = option("name of the method in folders and tables")
    freeze: bool = option("freeze the backbone, including BatchNorm statistics, and train only the head")
    cache_features: Any = option("compute a frozen backbone's features once; auto: if possible", choices=AUTO)


@dataclass
class OptimizerConfig:
    """The optimizer."""

    name: str = option("any class of torch.optim")
    lr: float = option("learning rate", above=0)
    options: dict[str, Any] = option("further arguments of the optimizer (optimizer.options.weight_decay=0.01)")


@dataclass
class SchedulerConfig:
    """The learning rate schedule."""

    name: str | None = option("any class of torch.optim.lr_scheduler, or null for a constant learning rate")
    interval: str = option("step the scheduler after each `epoch` or each optimizer `step`", choices=("epoch", "step"))
    options: dict[str, Any] = option("arguments of the scheduler; `auto` becomes the run's number of steps")
    monitor: str | None = option("what ReduceLROnPlateau goes by, such as val/accuracy or train/loss; null: val/loss")


@dataclass
class LossConfig:
    """The weights of the cross-entropy."""

    class_weights: Any = option(
        "null, `balanced` (inverse to the training split's counts) or one weight per class; val/loss is without weights"
    )
    label_smoothing: float = option(
        "fraction of the target that is spread over all classes; val/loss is without smoothing", low=0, below=1
    )


@dataclass
class TrainerConfig:
    """Lightning's Trainer."""

    accelerator: str = option("processor or kind of GPU", choices=("auto", "cpu", "gpu", "mps", "cuda"))
    devices: Any = option("number of devices, a list of their indices, or auto")
    num_nodes: int = option("number of machines", low=1)
    strategy: str = option("auto, ddp or another Lightning strategy")
    precision: str = option("numerical precision", choices=("auto", "32-true", "bf16-mixed", "16-mixed"))
    channels_last: Any = option("channels-last memory format; auto: on a CPU and in 16-bit precisions", choices=AUTO)
    max_epochs: int = option("number of epochs", low=1)
    max_steps: int = option("stop after this many optimizer steps; -1 for no limit", low=-1)
    max_time: str | None = option("stop after this time, given as DD:HH:MM:SS")
    limit_train_batches: Any = option("train on this many batches (int) or this fraction of them (float)")
    limit_val_batches: Any = option("validate on this many batches (int) or this fraction of them (float)")
    limit_test_batches: Any = option("test on this many batches (int) or this fraction of them (float)")
    gradient_clip_val: float | None = option("clip gradients at this value", above=0)
    gradient_clip_algorithm: str | None = option("clip gradients by `norm` or by `value`", choices=("norm", "value"))
    accumulate_grad_batches: int = option("accumulate gradients over this many batches per optimizer step", low=1)
    check_val_every_n_epoch: int = option("evaluate the validation or test split every n epochs", low=1)
    sync_batchnorm: bool = option("synchronize BatchNorm statistics across the devices of a run")
    deterministic: bool = option("use deterministic algorithms only; slower on a GPU")
    benchmark: Any = option("let cuDNN pick its fastest algorithms; auto: unless deterministic", choices=AUTO)
    tf32: Any = option("allow TensorFloat-32 in float32 products on a GPU; auto: unless deterministic", choices=AUTO)
    cuda_graphs: Any = option(
        "replay training steps as CUDA graphs, not yet tried on a GPU; auto: on one that accepts it", choices=AUTO
    )
    detect_anomaly: bool = option("stop at the operation whose gradient is NaN; slow")
    profiler: str | None = option(
        "write where time was spent to fit-profile.txt and test-profile.txt in the run's folder",
        choices=("simple", "advanced"),
    )
    num_threads: int | None = option("number of PyTorch's CPU threads; null for PyTorch's default", low=1)
    keep_memory: bool = option("on a CPU, keep freed memory for the next step, which is faster")
    enable_progress_bar: bool = option("show a progress bar")


@dataclass
class LauncherConfig:
    """How the jobs of a multirun share the machine; no result depends on it."""

    jobs: int | None = option("jobs of a multirun at a time; null: as many as the devices allow, one on a CPU", low=1)
    devices_per_job: int | None = option("devices per job; null: as trainer.devices says", low=1)
    jobs_per_device: int = option("jobs that may share a device; more than one was not yet tried on a GPU", low=1)
    fail_fast: bool = option("stop the whole multirun when a job fails")


@dataclass
class SearchConfig:
    """How `brain-tumor-tl search` looks for the best settings; no result of a single run depends on it."""

    trials: int = option("number of trials, including those of earlier starts", low=1)
    metric: str = option("the metric to optimize, a val/ column of metrics.csv; a loss is minimized, others maximized")
    sampler: str = option("`tpe` learns from earlier trials, `random` does not", choices=("tpe", "random"))
    pruner: str = option(
        "stop trials below the `median` of the others, or by `hyperband`", choices=("none", "median", "hyperband")
    )
    seed: int = option("seed of the sampler", low=0, high=2**32 - 1)


@dataclass
class TrainConfig:
    """Everything that a training run depends on."""

    seed: int = option("seed of the split, the new head, the order of batches and the phantoms", low=0, high=2**32 - 1)
    name: str = option("name of the run's folder")
    sweep: str = option("name of the folder that holds the runs of a multirun")
    force: bool = option("train again even if the run's folder holds a run")
    confusion_every: int = option("plot the confusion matrix every n epochs; 0: only at the end", low=0)
    data: DataConfig = option("")
    model: ModelConfig = option("")
    method: MethodConfig = option("")
    optimizer: OptimizerConfig = option("")
    scheduler: SchedulerConfig = option("")
    loss: LossConfig = option("")
    trainer: TrainerConfig = option("")
    launcher: LauncherConfig = option("")
    search: SearchConfig = option("")


ConfigStore.instance().store(name="train_schema", node=TrainConfig)
