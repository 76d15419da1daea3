"""Config: the typed schema of `conf/`: every key's type, range and meaning. The values are in YAML.

The keys of the data are in `config_data.py`, those of the learning in `config_learning.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore

from brain_tumor_tl.cli.config_data import DataConfig
from brain_tumor_tl.cli.config_evidence import EvidenceConfig
from brain_tumor_tl.cli.config_learning import (
    LossConfig,
    MethodConfig,
    ModelConfig,
    OptimizerConfig,
    SchedulerConfig,
    TrainerConfig,
)
from brain_tumor_tl.cli.heads import HeadConfig
from brain_tumor_tl.cli.option import option


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
    head: HeadConfig = option("")
    optimizer: OptimizerConfig = option("")
    scheduler: SchedulerConfig = option("")
    loss: LossConfig = option("")
    trainer: TrainerConfig = option("")
    evidence: EvidenceConfig = option("")
    launcher: LauncherConfig = option("")
    search: SearchConfig = option("")


ConfigStore.instance().store(name="train_schema", node=TrainConfig)
