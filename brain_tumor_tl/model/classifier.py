"""TumorClassifier: the LightningModule. A torchvision backbone, a new head, and how they are trained."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from brain_tumor_tl.model.backbone import Cut, build_network
from brain_tumor_tl.model.freezing import HEAD, Epochs, Freezing, learns
from brain_tumor_tl.model.lightning_internals import count_steps
from brain_tumor_tl.model.loss import cross_entropy
from brain_tumor_tl.model.metrics import Outputs, StageResults
from brain_tumor_tl.model.mixing import Mixing
from brain_tumor_tl.model.optim import HEADLINES, build_optimizer, build_scheduler, check_learning
from brain_tumor_tl.model.parameter_groups import Factors, factors_in_use, parameter_groups
from brain_tumor_tl.model.seeds import epoch_seed
from brain_tumor_tl.model.steps import Blocks, Learner, Stepper, undo_capturable
from brain_tumor_tl.model.weights import require_backbone
from brain_tumor_tl.names import nearest

log = logging.getLogger("brain_tumor_tl")
Batch = tuple[Tensor, Tensor, Tensor]
Saving = Callable[[dict[str, Any]], None]  # what a callback does with each checkpoint


class TumorClassifier(L.LightningModule):
    """A torchvision network with a new last layer.

    With `freeze` the backbone, or what lies before `train_from`, is fixed; see `Freezing`. What it returns for images,
    such as features `(B, D)` of a whole backbone, can then take the place of images.

    Args:
        name: Any classification network of torchvision.models.
        classes: Name of each class, in the order of the labels.
        weights: A torchvision weight name, the path of a state dict or checkpoint, or None for random weights. The head
            of a checkpoint is taken too if its classes are the same.
        options: Arguments of torchvision's builder.
        head: The settings of `head.`, see `make_head`; None for a linear layer.
        freeze: Train the head alone, or what follows `train_from`.
        train_from: With `freeze`, the first module of the backbone that learns; see `Freezing`.
        stages: With `freeze`, such modules and for how many epochs each counts.
        optimizer: A class of torch.optim.
        lr: Learning rate.
        optimizer_options: Further arguments of the optimizer.
        backbone_lr_factor: Of `lr` in the backbone, or one for each of its modules; see `parameter_groups`.
        fused: Update all parameters in one kernel if the optimizer can.
        scheduler: A class of torch.optim.lr_scheduler, or None.
        scheduler_interval: "epoch" or "step".
        scheduler_options: Arguments of the scheduler; "auto" stands for the run's number of scheduler steps.
        scheduler_monitor: What ReduceLROnPlateau goes by, such as "val/accuracy"; None for "val/loss".
        class_weights: Weight of each class in the loss.
        label_smoothing: Share of the target spread over all classes.
        mixup: Alpha of MixUp, see `Mixing`; 0 for none. The metrics of training are those of mixed images against each
            image's own label, so they look worse than on the images themselves.
        cutmix: Alpha of CutMix; 0 for none.
        monitored: The split that the validation loop evaluates, "val" or "test"; a data module's takes precedence.
        seed: Seed of the random numbers of each epoch, such as those of dropout.
        preprocessing: How files became inputs, as `TumorData.preprocessing` returns it; None to ask the data module.
        blocks: Train on many batches in each training step; None for one.
        network: What `build_network` returned for the same arguments; None to build it here.
        freezing: What `Freezing` makes of that network's backbone; None to make it here.
        load_weights: Whether to load `weights`; False if a state dict will replace them.
        to_loggers: Whether metrics go to the Trainer's loggers too, or are there for callbacks alone.

    The hyperparameters in a checkpoint are all of these up to `preprocessing`, so a checkpoint says what it is.
    """

    class_weights: Tensor | None
    learner: Learner | None = None  # takes the place of the optimizer's steps in training
    _evaluated = -1  # the newest epoch that evaluated the monitored split

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        *,
        weights: str | Path | None,
        freeze: bool,
        train_from: str | float | None = None,
        stages: Epochs | None = None,
        options: Mapping[str, Any] | None = None,
        head: Mapping[str, Any] | None = None,
        optimizer: str = "Adam",
        lr: float = 0.001,
        optimizer_options: Mapping[str, Any] | None = None,
        backbone_lr_factor: Factors = 1.0,
        fused: bool = True,
        scheduler: str | None = None,
        scheduler_interval: str = "epoch",
        scheduler_options: Mapping[str, Any] | None = None,
        scheduler_monitor: str | None = None,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        monitored: str = "val",
        seed: int = 0,
        preprocessing: Mapping[str, Any] | None = None,
        blocks: Blocks | None = None,
        network: Cut | None = None,
        freezing: Freezing | None = None,
        load_weights: bool = True,
        to_loggers: bool = True,
    ) -> None:
        super().__init__()
        classes, weights = list(classes), None if weights is None else str(weights)  # which checkpoints can hold
        self.save_hyperparameters(ignore=["blocks", "network", "freezing", "load_weights", "to_loggers"])
        self.classes, self.seed, self.to_loggers, self.monitored = classes, seed, to_loggers, monitored
        learning = (scheduler, scheduler_options, scheduler_interval, scheduler_monitor)
        part = learns({"freeze": freeze, "train_from": train_from, "stages": stages})
        factors = (1.0,) if part == HEAD else factors_in_use(backbone_lr_factor)
        check_learning(optimizer, lr, optimizer_options, *learning, monitored=self.monitored, factors=factors)
        network = network or build_network(name, classes, weights, options, load_weights, head)
        self.backbone, self.head = network.backbone, network.head
        self.freezing = freezing or Freezing(self.backbone, freeze, train_from, stages)
        parameter_groups(self.backbone, self.head, lr, backbone_lr_factor)  # fails early if these don't fit
        self.mix = Mixing(len(classes), mixup, cutmix) if mixup or cutmix else None
        self.register_buffer("class_weights", None if class_weights is None else torch.tensor(class_weights).float())
        self._results, self.on_saving = StageResults(classes), list[Saving]()
        self.confusion = self._results.confusion  # by stage
        self.blocks, self.automatic_optimization = blocks, blocks is None

    @classmethod
    def load_from_checkpoint(cls, *args: Any, **options: Any) -> TumorClassifier:
        """Return the classifier of a checkpoint, as Lightning does, without the file that its weights once came from.

        Checkpoints of all versions of this package can be loaded; those before `preprocessing` lack it.

        Raises:
            TypeError: An argument is unknown, which Lightning would ignore.
        """
        known = {*signature(cls.__init__).parameters, *signature(super().load_from_checkpoint).parameters}
        if unknown := [name for name in options if name not in known - {"self", "cls", "kwargs"}]:
            raise TypeError(f"Expected arguments of TumorClassifier, got {unknown[0]!r}.{nearest(unknown[0], known)}")
        return super().load_from_checkpoint(*args, **{"load_weights": False, **options})

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of the head alone, which a run with a frozen backbone writes before its end."""
        require_backbone(checkpoint["state_dict"], "The checkpoint")

    def setup(self, stage: str) -> None:
        """Take from the Trainer's data module which split it evaluates and, in training, how it makes inputs."""
        data: Any = getattr(self.trainer, "datamodule", None)
        self.monitored = getattr(data, "monitored", self.monitored)
        if hasattr(data, "preprocessing"):
            known, found = self.hparams["preprocessing"], data.preprocessing()
            if stage == "fit":
                self.hparams["preprocessing"] = found
            elif known not in (None, found):
                log.warning(f"The images are not prepared as in training: {found}, where training had {known}.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Undo what a CUDA graph needs of the optimizer's settings, since other devices load checkpoints too."""
        for change in self.on_saving:
            change(checkpoint)
        undo_capturable(checkpoint.get("optimizer_states", []))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `(B, classes)` of images `(B, 3, H, W)`, or of what is kept of them; the head is float32."""
        features = self.freezing.features(inputs)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits

    def train(self, mode: bool = True) -> TumorClassifier:
        """Set training mode; what is frozen stays in eval mode."""
        super().train(mode)
        self.freezing.hold()
        return self

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer of the trainable parameters, and the scheduler if there is one."""
        p = self.hparams
        groups = parameter_groups(self.backbone, self.head, p["lr"], p["backbone_lr_factor"])
        if not any(group["params"] for group in groups):
            return None  # the head is fitted
        optimizer = build_optimizer(p["optimizer"], groups, p["lr"], p["optimizer_options"], p["fused"])
        if p["scheduler"] is None:
            return optimizer
        steps = self.trainer.max_epochs or 1
        if p["scheduler_interval"] == "step":
            steps = steps * self.blocks.steps if self.blocks else int(self.trainer.estimated_stepping_batches)
        monitor = p["scheduler_monitor"], self.monitored
        scheduler = build_scheduler(p["scheduler"], optimizer, p["scheduler_options"], steps, *monitor)
        entry: dict[str, Any] = {"scheduler": scheduler, "interval": p["scheduler_interval"]}
        entry |= {"monitor": "train/loss"} if self.automatic_optimization else {}  # always there; see lr_scheduler_step
        return {"optimizer": optimizer, "lr_scheduler": entry}  # type: ignore[return-value]  # Lightning's TypedDict

    def on_train_start(self) -> None:
        """Prepare to train in blocks, once a resumed run's optimizer has its state."""
        if self.blocks is not None:
            optimizer: Any = self.optimizers(use_pl_optimizer=False)
            self.learner = Stepper(self.forward, self.loss, optimizer, self.blocks, self._after_step, self.mix)

    def on_train_epoch_start(self) -> None:
        """Seed augmentation and dropout by epoch, so that a resumed run continues as an uninterrupted one."""
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch, self.global_rank))
        self.freezing.begin(self.current_epoch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, or of a block after its optimizer steps."""
        return self._step("train", batch, batch_idx)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a batch of the monitored split."""
        self._step(self.monitored, batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Evaluate a batch of the test split."""
        self._step("test", batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Return `probabilities` `(B, classes)`, `positions` `(B,)` and, of a data module with an index, `paths`."""
        inputs, _, positions = batch
        index = getattr(getattr(self.trainer, "datamodule", None), "index", None)
        paths = {} if index is None else {"paths": [index.paths[position] for position in positions.tolist()]}
        return {"probabilities": self(inputs).softmax(1), "positions": positions, **paths}

    def on_train_epoch_end(self) -> None:
        """Log the training split's metrics, for checkpoints and schedulers."""
        self._log_summary("train")
        self._step_plateau()
        if not self.automatic_optimization:
            self._step_scheduler("epoch")

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Leave ReduceLROnPlateau to `on_train_epoch_end`.

        Lightning would step it by an old value after an epoch without evaluation, and after the checkpoint was written.
        """
        if not isinstance(scheduler, ReduceLROnPlateau):
            super().lr_scheduler_step(scheduler, metric)

    def on_validation_epoch_end(self) -> None:
        """Log the monitored split's metrics, for checkpoints and schedulers."""
        self._evaluated = -1 if self.trainer.sanity_checking else self.current_epoch
        self._log_summary(self.monitored)

    def on_test_epoch_end(self) -> None:
        """Log the test split's metrics."""
        self._log_summary("test")

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return what training minimises, of logits `(B, classes)` and labels `(B,)` or soft targets `(B, classes)`."""
        return cross_entropy(logits, targets, self.class_weights, self.hparams["label_smoothing"])

    def outputs(self, stage: str) -> Outputs:
        """Return logits `(N, classes)`, labels and positions `(N,)` of the stage's epoch, of all processes together."""
        return self._results.outputs(stage)

    def summarize(self, stage: str) -> dict[str, float]:
        """Return loss and metrics of the stage's epoch as fractions by name; `confusion` then has its matrix.

        The loss of the training split is what training minimises. Of the others it is the log loss, without class
        weights and label smoothing, so that runs that differ in these can be compared.
        """
        return self._results.summarize(stage, self.loss if stage == "train" else F.cross_entropy)

    def _step(self, stage: str, batch: Batch, batch_idx: int) -> Tensor:
        inputs, labels, positions = batch
        targets, learner = labels, self.learner if stage == "train" else None
        if stage == "train" and learner is None and self.mix is not None:
            inputs, targets = self.mix(inputs, labels)
        logits = self(inputs) if learner is None else learner.learn(inputs, labels)
        self._results.add(stage, batch_idx == 0, (logits.detach(), labels, positions))
        return self.loss(logits, targets)

    def _after_step(self) -> None:
        count_steps(self.trainer, 1)
        self._step_scheduler("step")

    def _step_scheduler(self, interval: str) -> None:
        """Change the learning rate, which Lightning leaves to the module if the module takes the optimizer steps."""
        due = self.hparams["scheduler"] is not None and self.hparams["scheduler_interval"] == interval
        scheduler: Any = self.lr_schedulers() if due else None
        if due and not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def _step_plateau(self) -> None:
        """Step ReduceLROnPlateau if the epoch has a new value of what it goes by."""
        scheduler = self.lr_schedulers()
        split, _, name = (self.hparams["scheduler_monitor"] or f"{self.monitored}/loss").partition("/")
        if isinstance(scheduler, ReduceLROnPlateau) and (split == "train" or self._evaluated == self.current_epoch):
            scheduler.step(self.summarize(split)[name])

    def _log_summary(self, stage: str) -> None:
        summary = self.summarize(stage)
        logged = {f"{stage}/{name}": summary[name] for name in (summary if self.to_loggers else HEADLINES)}
        # Every process has the metrics of all of them, so their mean is the same; without it Lightning warns.
        self.log_dict(logged, logger=self.to_loggers, batch_size=1, sync_dist=True)
