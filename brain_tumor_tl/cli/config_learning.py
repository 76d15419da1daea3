"""Config of the learning: the typed schema of the network, the method, the optimizer and the Trainer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from brain_tumor_tl.cli.option import AUTO, option


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
    freeze: bool = option("freeze the backbone or a part of it, including BatchNorm statistics")
    train_from: Any = option(
        "with freeze: the first module that learns (layer3, features.7), or the share of layers that don't, from 0 for "
        "none to 1 for all but the head; null: 1"
    )
    stages: Any = option(
        "layers that begin to learn one after the other, with epochs: [[head, 3], [layer4, 5], [layer3, null]]"
    )
    cache_features: Any = option("compute the output of what is frozen once; auto: if possible", choices=AUTO)
    views: int = option(
        "keep what is frozen for this many fixed augmented variants of the images, which epochs take in turn; 1: none",
        low=1,
    )


@dataclass
class OptimizerConfig:
    """The optimizer."""

    name: str = option("any class of torch.optim")
    lr: float = option("learning rate", above=0)
    backbone_lr_factor: Any = option(
        "the backbone's learning rate as a fraction of lr, or fractions by its modules, {layer1: 0.1, layer4: 0.3}, "
        "each from that module on"
    )
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
    patience: int | None = option(
        "stop after this many evaluations without a better accuracy on the validation split; null: never", low=1
    )
    ema: float | None = option(
        "evaluate, test and save the exponential moving average of the weights, of this decay; null: the weights",
        above=0,
        below=1,
    )
    overfit_batches: int | None = option(
        "train on this many batches of the same images, to see whether they are learnt by heart", low=1
    )
    find_lr: bool = option("in place of training, raise the learning rate step by step and suggest one, with a plot")
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
