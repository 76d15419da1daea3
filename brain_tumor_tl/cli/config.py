"""Config: the typed schema of `conf/`, every key's type, range and meaning. The values are in YAML."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import II, MISSING, OmegaConf

from brain_tumor_tl.names import closest, nearest, question


def conf_dir() -> Path:
    """Return the folder of the YAML files: the package's own copy in a wheel, else the checkout's `conf/`.

    Raises:
        FileNotFoundError: Neither is there, so the installation is damaged.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"Expected the configuration in {package / 'conf'} or {package.parent / 'conf'}, found neither. "
        "Install the package again."
    )


def option(
    meaning: str,
    *,
    choices: tuple[Any, ...] = (),
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """Declare one key: its meaning for `--help` and the values it may take.

    Args:
        meaning: One sentence without a full stop.
        choices: The only values allowed; empty for any.
        low: The least value allowed.
        high: The greatest value allowed.
        above: Values must be greater than this.
        below: Values must be less than this.
    """
    rule = {"choices": choices, "low": low, "high": high, "above": above, "below": below}
    return dataclasses.field(default=MISSING, metadata={"meaning": meaning, **rule})


@dataclass
class AugmentConfig:
    """Random changes of the training images; all zero for none."""

    flip: float = option("probability of exchanging left and right in a training image", low=0, high=1)
    degrees: float = option("rotate training images by up to so many degrees either way", low=0, high=180)
    translate: float = option("shift training images by up to this share of their size", low=0, below=1)
    scale: float = option("enlarge or reduce training images by up to this share", low=0, below=1)
    brightness: float = option("brighten or darken training images by up to this share", low=0, below=1)
    contrast: float = option("stretch or squeeze training images' contrast by up to this share", low=0, below=1)


@dataclass
class DataConfig:
    """Where the images are, how they are read and how they are split."""

    source: str = option(
        "where images come from: `folder` as it is; if absent, `kaggle` downloads, `matlab` converts, `phantom` draws",
        choices=("folder", "kaggle", "matlab", "phantom"),
    )
    root: str = option("folder that holds Training/ and Testing/, train/ and test/, or the class folders")
    url: str | None = option("zip archive that data=kaggle downloads when data.root is absent")
    matlab: str | None = option("folder of the .mat files that data=figshare converts when data.root is absent")
    classes: list[list[str]] = option("classes in the order of their labels, each its name and further folder names")
    image_size: int = option("height and width in pixels that images are resized to", low=8, high=4096)
    batch_size: int = option("images in an optimizer step, over all devices together", low=1)
    normalize: str = option(
        "`unit` scales to 0..1 as the study does; `imagenet` then takes off ImageNet's mean and std",
        choices=("unit", "imagenet"),
    )
    split: str = option(
        "how images are split: `random` as the study does; `grouped` keeps copies and a patient's images together, "
        "`runs` also runs of file numbers; `official` by the set's own folders, `official_clean` without what leaks; "
        "`kfold` tests on one fold (docs/protocols.md)",
        choices=("random", "grouped", "runs", "official", "official_clean", "kfold"),
    )
    fold: int = option("with split=kfold, the fold that is the test part, from 0; -m data.fold=0,1,2,3,4", low=0)
    folds: int = option("with split=kfold, the number of folds", low=2)
    fold_by: str = option(
        "with split=kfold, what a fold keeps together, as the splits of these names do",
        choices=("random", "grouped", "runs"),
    )
    test_fraction: float = option(
        "share of all images in the test part, where neither folders nor folds make it", above=0, below=1
    )
    val_fraction: float = option(
        "share of all images in a validation part; 0 watches the test part instead, as the study does",
        low=0,
        below=1,
    )
    stratify: bool = option("give each part the same share of every class")
    labels: str | None = option("CSV with `path` and `label` that overrides the folders' labels; `patient` besides")
    patients: str | None = option("CSV with `path` and `patient`: splits by group keep each patient on one side")
    drop_conflicts: bool = option("leave out pictures that stand under two labels, all their copies")
    shuffle_labels: bool = option("a control: train on permuted labels; accuracy must land at chance")
    find_copies: Any = option(
        "look for copies among the images, once for each data set; `auto` leaves near ones, which take a minute to "
        "find, to splits that need them",
        choices=("auto", True, False),
    )
    augment: AugmentConfig = option("")
    on_bad_file: str = option(
        "`error` refuses to start on an unreadable file, `skip` leaves it out and lists it in bad_files.csv",
        choices=("error", "skip"),
    )
    cache_dir: str = option("folder of decoded images, features, downloads and phantoms, shared by all runs")
    phantoms_per_class: int = option("synthetic images that data=phantom draws for each class", low=0)
    phantom_size: int = option("height and width in pixels of a synthetic image", low=0)


@dataclass
class ModelConfig:
    """Which network, and what it starts from."""

    name: str = option("any classification network of torchvision.models")
    weights: str | None = option("a torchvision weight name, a file with a state dict, or null for random weights")
    options: dict[str, Any] = option("open table of arguments for torchvision's builder (+model.options.dropout=0.5)")


@dataclass
class MethodConfig:
    """How the network is transferred."""

    name: str = option("the method's name in folders and tables")
    freeze: bool = option("hold the backbone, BatchNorm statistics included, and train the head alone")
    cache_features: Any = option(
        "compute a frozen backbone's features once: `auto` where the method freezes, `true` insists on it",
        choices=("auto", True, False),
    )


@dataclass
class OptimizerConfig:
    """What moves the weights."""

    name: str = option("any class of torch.optim")
    lr: float = option("learning rate", above=0)
    options: dict[str, Any] = option(
        "open table of further arguments of the optimizer (+optimizer.options.weight_decay=0.01)"
    )


@dataclass
class SchedulerConfig:
    """What moves the learning rate."""

    name: str | None = option("any class of torch.optim.lr_scheduler, or null for a constant learning rate")
    interval: str = option(
        "take a scheduler step after each `epoch` or each optimizer `step`", choices=("epoch", "step")
    )
    options: dict[str, Any] = option(
        "open table of the scheduler's arguments; `auto` stands for the run's number of steps"
    )


@dataclass
class LossConfig:
    """Cross-entropy and its weights."""

    class_weights: Any = option("null, `balanced` (by the training part's counts) or one weight for each class")
    label_smoothing: float = option("share of the target spread over all classes", low=0, below=1)


@dataclass
class TrainerConfig:
    """Lightning's Trainer."""

    accelerator: str = option("auto, cpu, gpu or mps", choices=("auto", "cpu", "gpu", "mps", "cuda"))
    devices: Any = option("number of devices, a list of their numbers, or auto")
    num_nodes: int = option("number of machines", low=1)
    strategy: str = option("auto, ddp or another Lightning strategy")
    precision: str = option(
        "auto, 32-true, bf16-mixed or 16-mixed", choices=("auto", "32-true", "bf16-mixed", "16-mixed")
    )
    channels_last: Any = option(
        "lay images out with channels last; auto: on a processor, and in 16-bit precisions",
        choices=("auto", True, False),
    )
    max_epochs: int = option("passes over the training part", low=1)
    max_steps: int = option("stop after this many optimizer steps; -1 for no limit", low=-1)
    max_time: str | None = option("stop after this time, as DD:HH:MM:SS")
    limit_train_batches: Any = option("train on this many batches (int) or this share of them (float)")
    limit_val_batches: Any = option("watch only this many batches (int) or this share of them (float)")
    limit_test_batches: Any = option("test on only this many batches (int) or this share of them (float)")
    gradient_clip_val: float | None = option("clip gradients to this", above=0)
    gradient_clip_algorithm: str | None = option("clip by `norm` or by `value`", choices=("norm", "value"))
    accumulate_grad_batches: int = option("batches whose gradients are summed for one optimizer step", low=1)
    check_val_every_n_epoch: int = option("watch the validation or test part every so many epochs", low=1)
    sync_batchnorm: bool = option("share BatchNorm statistics between the devices of one run")
    deterministic: bool = option("use deterministic algorithms only; slower on a GPU")
    benchmark: Any = option(
        "let cuDNN try its algorithms and keep the fastest; auto: unless deterministic", choices=("auto", True, False)
    )
    tf32: Any = option(
        "let a GPU round float32 products to TensorFloat-32; auto: unless deterministic", choices=("auto", True, False)
    )
    cuda_graphs: Any = option(
        "on one GPU, replay training steps as a CUDA graph; auto: where CUDA accepts it", choices=("auto", True, False)
    )
    detect_anomaly: bool = option("stop at the operation whose gradient is not a number; slow")
    profiler: str | None = option(
        "`simple` or `advanced` for a table of where the time went", choices=("simple", "advanced")
    )
    num_threads: int | None = option("processor threads of PyTorch; null leaves its own choice", low=1)
    keep_memory: bool = option("on a processor, keep the memory that a step frees for the next one, for speed")
    enable_progress_bar: bool = option("show the progress bar")


@dataclass
class LauncherConfig:
    """How the jobs of a multirun share the machine; no figure depends on it."""

    jobs: int | None = option("jobs of a multirun at once; null: as many as the devices allow, else one", low=1)
    devices_per_job: int | None = option("devices that each job is given; null: as trainer.devices says", low=1)
    jobs_per_device: int = option("jobs that may share a device", low=1)
    fail_fast: bool = option("end the whole multirun when its first job fails")


@dataclass
class SearchConfig:
    """How `brain-tumor-tl search` looks for the best settings; no figure of a single run depends on it."""

    trials: int = option("trials of a search, those of earlier starts counted", low=1)
    metric: str = option(
        "what a search looks for the best of: a val/ column of metrics.csv; a loss is made small, all else large"
    )
    sampler: str = option(
        "how a search chooses: `tpe` learns from the trials so far, `random` does not", choices=("tpe", "random")
    )
    pruner: str = option(
        "which trials a search ends early: `none`, those below the `median` of the others, or all but the best third "
        "again and again (`hyperband`)",
        choices=("none", "median", "hyperband"),
    )
    seed: int = option("seed of a search's own choices", low=0, high=2**32 - 1)


@dataclass
class TrainConfig:
    """Everything that a training run depends on."""

    seed: int = option("seed of the split, the new head, the order of batches and the phantoms", low=0, high=2**32 - 1)
    name: str = option("name of the run's folder")
    sweep: str = option("name of the folder that collects the runs of a multirun")
    force: bool = option("train anew although the run's folder holds a run")
    confusion_every: int = option("draw the confusion matrix every so many epochs; 0 only at the end", low=0)
    data: DataConfig = option("")
    model: ModelConfig = option("")
    method: MethodConfig = option("")
    optimizer: OptimizerConfig = option("")
    scheduler: SchedulerConfig = option("")
    loss: LossConfig = option("")
    trainer: TrainerConfig = option("")
    launcher: LauncherConfig = option("")
    search: SearchConfig = option("")


@dataclass
class LocalLauncherConfig:
    """`hydra/launcher=local`, which takes its values from the `launcher` keys."""

    _target_: str = "hydra_plugins.brain_tumor_tl_launcher.LocalLauncher"
    jobs: int | None = II("launcher.jobs")
    devices_per_job: int | None = II("launcher.devices_per_job")
    jobs_per_device: int = II("launcher.jobs_per_device")
    fail_fast: bool = II("launcher.fail_fast")


def name_suffix(split: str, fold: int, fold_by: str, shuffle_labels: bool) -> str:
    """Return what a run's name says of its split, so that folders differ; nothing of the study's random one.

    >>> name_suffix("kfold", 2, "runs", False)
    '-runs-f2'
    """
    split = f"{fold_by}-f{fold}" if split == "kfold" else split
    return ("" if split == "random" else f"-{split}") + ("-shuffled" if shuffle_labels else "")


@dataclass
class SearchSweeperConfig:
    """`hydra/sweeper=search`, which `brain-tumor-tl search` chooses; its values are the `search` keys."""

    _target_: str = "hydra_plugins.brain_tumor_tl_search.SearchSweeper"
    params: dict[str, Any] | None = None  # spaces from a YAML file, as in Hydra's own sweeper


OmegaConf.register_new_resolver("of_split", name_suffix, replace=True)
ConfigStore.instance().store(name="train_schema", node=TrainConfig)
ConfigStore.instance().store(group="hydra/sweeper", name="search", node=SearchSweeperConfig)
ConfigStore.instance().store(group="hydra/launcher", name="local", node=LocalLauncherConfig)


@dataclass(frozen=True)
class Key:
    """One declared key, for help and checks.

    Attributes:
        path: Where it stands, such as `data.batch_size`.
        type_name: Its type as the user reads it.
        rule: `meaning`, `choices`, `low`, `high`, `above` and `below` of `option`.
        open_table: Whether any key may be added below it.
    """

    path: str
    type_name: str
    rule: dict[str, Any]
    open_table: bool


def keys(schema: type = TrainConfig, prefix: str = "") -> Iterator[Key]:
    """Yield every key of a schema, depth first, in the order of declaration."""
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        hint = hints[field.name]
        path = prefix + field.name
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            yield from keys(hint, path + ".")
        else:
            name = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
            yield Key(path, name, dict(field.metadata), open_table=name.startswith("dict"))


def unknown_key(path: str, groups: list[str]) -> str | None:
    """Return what is wrong with an override's key, or None where the schema or a config group has it.

    Args:
        path: The key as typed, without `+` and `~`.
        groups: The config groups, which are keys of a command line too.
    """
    known = list(keys())
    paths = [key.path for key in known]
    tables = {path.rsplit(".", 1)[0] for path in paths if "." in path}
    group = path.split("@")[0]
    inside_open = any(key.open_table and path.startswith(key.path + ".") for key in known)
    if path in paths or path in tables or group in groups or inside_open or re.match(r"hydra\b", path):
        return None
    table, _, leaf = path.rpartition(".")
    siblings = [p.rsplit(".", 1)[-1] for p in paths if p.rpartition(".")[0] == table]
    hint = nearest(leaf, siblings) if siblings else ""
    if not hint:
        alike = closest(leaf, {p.rsplit(".", 1)[-1] for p in paths})
        hint = nearest(path, paths + groups) or question(p for p in paths if p.rsplit(".", 1)[-1] in alike)
    choices = f" `{table}` has: {', '.join(siblings)}." if siblings and table else ""
    if not table:
        choices = f" There are {', '.join(sorted({p.split('.')[0] for p in paths} | set(groups)))}."
    return f"There is no key `{path}`.{hint}{choices}"
