"""TumorClassifier: the LightningModule. A torchvision backbone, a new head, and how they learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics.utilities.distributed import gather_all_tensors

from brain_tumor_tl.model.backbone import build, new_head
from brain_tumor_tl.model.metrics import build_metrics, scalars
from brain_tumor_tl.model.optim import build_optimizer, build_scheduler, check_learning
from brain_tumor_tl.model.steps import Stepper

Batch = tuple[Tensor, Tensor, Tensor]
Outputs = tuple[Tensor, Tensor, Tensor]
HEADLINES = ("loss", "accuracy", "balanced_accuracy", "macro_f1")  # what checkpoints and schedulers can go by


@dataclass(frozen=True)
class Blocks:
    """How to learn from many batches at a time.

    Attributes:
        batch_size: Images in an optimizer step.
        steps: Optimizer steps in an epoch.
        prepare: Takes a batch as it is stored to the network's input.
        graphs: On a GPU, replay steps as a CUDA graph: True, False or "auto".
    """

    batch_size: int
    steps: int
    prepare: Callable[[Tensor], Tensor]
    graphs: bool | str = False


class TumorClassifier(L.LightningModule):
    """A torchvision network with a new last layer.

    With `freeze` the backbone is a fixed function: no gradient, BatchNorm and dropout in eval mode throughout, and
    nothing of it in the optimizer. It then takes features `(B, D)` in place of images just as well.

    Args:
        name: Any classification network of torchvision.models.
        classes: Name of each class, in the order of the labels.
        weights: A torchvision weight name, the path of a state dict, or None for random weights.
        options: Arguments of torchvision's builder.
        freeze: Train the head alone.
        optimizer: A class of torch.optim.
        lr: Learning rate.
        optimizer_options: Further arguments of the optimizer.
        fused: Let the optimizer update all parameters in one kernel where it can.
        scheduler: A class of torch.optim.lr_scheduler, or None.
        scheduler_interval: "epoch" or "step".
        scheduler_options: Arguments of the scheduler; "auto" stands for the run's number of scheduler steps.
        class_weights: Weight of each class in the loss.
        label_smoothing: Share of the target spread over all classes.
        monitored: What the Trainer's validation loop looks at: "val", or "test" as in the study.
        seed: Seed of what is random inside the network in each epoch, such as dropout.
    """

    def __init__(
        self,
        name: str,
        classes: Sequence[str],
        *,
        weights: str | None,
        freeze: bool,
        options: Mapping[str, Any] | None = None,
        optimizer: str = "Adam",
        lr: float = 0.001,
        optimizer_options: Mapping[str, Any] | None = None,
        fused: bool = True,
        scheduler: str | None = None,
        scheduler_interval: str = "epoch",
        scheduler_options: Mapping[str, Any] | None = None,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        monitored: str = "val",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.classes, self.freeze_backbone, self.monitored, self.seed = list(classes), freeze, monitored, seed
        check_learning(optimizer, lr, optimizer_options or {}, scheduler, scheduler_options or {})
        cut = build(name, weights, options)
        self.backbone, self.head = cut.backbone, new_head(cut.head, len(classes))
        if freeze:
            self.backbone.requires_grad_(False).eval()
        self.label_smoothing = label_smoothing
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", None if class_weights is None else torch.tensor(list(class_weights)))
        self._metrics = [build_metrics(len(classes))]  # in a list, so that Lightning leaves them on the processor
        self.confusion: dict[str, list[list[int]]] = {}
        self._seen: dict[str, list[Outputs]] = {}
        self._outputs: dict[str, Outputs] = {}
        self._summaries: dict[str, dict[str, float]] = {}
        self._blocks: Blocks | None = None
        self._stepper: Stepper | None = None

    def learn_in_blocks(self, blocks: Blocks) -> None:
        """Take many batches in each training step from here on, one optimizer step for each."""
        self.automatic_optimization, self._blocks = False, blocks

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a CUDA graph made of the optimizer's settings out of checkpoints, which other devices read too."""
        for state in checkpoint.get("optimizer_states", []):
            for group in state["param_groups"]:
                if group.get("capturable"):
                    group.update(capturable=False, lr=float(group["lr"]))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `(B, classes)` of images `(B, 3, H, W)`, or of features `(B, D)`; the head is float32."""
        features = inputs if inputs.ndim == 2 else self.backbone(inputs)
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features.float())
        return logits

    def train(self, mode: bool = True) -> TumorClassifier:
        """Set training mode; a frozen backbone stays in eval mode."""
        if not self.freeze_backbone:
            super().train(mode)
            return self
        self.training = mode  # and not through super(), which would walk the backbone twice
        for name, child in self.named_children():
            child.train(mode and name != "backbone")
        return self

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer over what learns, and the scheduler if there is one."""
        p = self.hparams
        optimizer = build_optimizer(
            p["optimizer"], self.parameters(), p["lr"], p["optimizer_options"] or {}, p["fused"]
        )
        self._stepper = None
        if p["scheduler"] is None:
            return optimizer
        epochs = self.trainer.max_epochs or 1
        if p["scheduler_interval"] == "epoch":
            steps = epochs
        else:
            steps = self._blocks.steps * epochs if self._blocks else int(self.trainer.estimated_stepping_batches)
        scheduler = build_scheduler(p["scheduler"], optimizer, p["scheduler_options"] or {}, steps)
        entry: dict[str, Any] = {"scheduler": scheduler, "interval": p["scheduler_interval"]}
        if self.automatic_optimization:  # a scheduler that looks at the loss waits where an epoch is not monitored
            entry |= {"monitor": self._monitor, "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": entry}  # type: ignore[return-value]  # Lightning's TypedDict

    def on_train_epoch_start(self) -> None:
        """Seed dropout and its like by epoch, so that a resumed run goes on as an uninterrupted one."""
        torch.manual_seed(self.seed * 100_003 + self.current_epoch + 7_919 * self.global_rank)
        self._forget("train")

    def on_validation_epoch_start(self) -> None:
        """Forget what the monitored part gave before."""
        self._forget(self.monitored)

    def on_test_epoch_start(self) -> None:
        """Forget what the test part gave before."""
        self._forget("test")

    @property
    def _monitor(self) -> str:
        return f"{self.monitored}/loss"

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch; of a block of batches, once it has learnt from it."""
        return self._step("train", batch) if self._blocks is None else self._learn(self._blocks, batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Look at a batch of the monitored part."""
        self._step(self.monitored, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Look at a batch of the test part."""
        self._step("test", batch)

    def on_train_epoch_end(self) -> None:
        """Make the training part's metrics known to checkpoints and schedulers."""
        self._log_summary("train")
        if not self.automatic_optimization:
            self._step_schedulers("epoch")

    def on_validation_epoch_end(self) -> None:
        """Make the monitored part's metrics known to checkpoints and schedulers."""
        self._log_summary(self.monitored)

    def on_test_epoch_end(self) -> None:
        """Make the test part's metrics known to the Trainer."""
        self._log_summary("test")

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of `(B, classes)` against `(B,)`."""
        return F.cross_entropy(logits, labels, self.class_weights, label_smoothing=self.label_smoothing)

    def outputs(self, stage: str) -> Outputs:
        """Return logits `(N, classes)`, labels and positions `(N,)` of the stage's epoch, of all processes together."""
        if stage not in self._outputs:
            parts = [torch.cat(tensors) for tensors in zip(*self._seen[stage], strict=True)]
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                parts = [torch.cat(gather_all_tensors(part.contiguous())) for part in parts]
            self._outputs[stage] = (parts[0], parts[1], parts[2])
        return self._outputs[stage]

    def summarize(self, stage: str) -> dict[str, float]:
        """Return loss and metrics of the stage's epoch as fractions by name; `confusion` then has its matrix."""
        if stage not in self._summaries:
            logits, labels, _ = self.outputs(stage)
            loss = float(self.loss(logits, labels))
            (metrics,) = self._metrics
            metrics.reset()
            metrics.update(logits.cpu(), labels.cpu())
            computed = metrics.compute()  # calling it would compute the batch's own values besides
            self.confusion[stage] = computed["confusion_matrix"].tolist()
            self._summaries[stage] = {"loss": loss, **scalars(computed, self.classes)}
        return self._summaries[stage]

    def _step(self, stage: str, batch: Batch) -> Tensor:
        inputs, labels, positions = batch
        logits = self(inputs)
        self._seen[stage].append((logits.detach(), labels, positions))
        return self.loss(logits, labels)

    def _learn(self, blocks: Blocks, batch: Batch) -> Tensor:
        inputs, labels, positions = batch
        if self._stepper is None:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)
            graphs = blocks.graphs if self.device.type == "cuda" else False
            self._stepper = Stepper(
                self._logits_and_loss, optimizer, blocks.batch_size, lambda: self._step_schedulers("step"), graphs
            )
        logits = self._stepper.learn(inputs, labels)
        self._seen["train"].append((logits, labels, positions))
        self._count_steps(-(-len(inputs) // blocks.batch_size))
        return self.loss(logits, labels)

    def _logits_and_loss(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        assert self._blocks is not None
        with torch.autocast(self.device.type, enabled=False):  # as outside blocks, where the data module prepares
            prepared = self._blocks.prepare(inputs)
        logits = self(prepared)
        return logits, self.loss(logits, labels)

    def _step_schedulers(self, interval: str) -> None:
        """Move learning rates on, which Lightning leaves to the module where the module takes the steps."""
        for entry in self.trainer.lr_scheduler_configs:
            if entry.interval != interval:
                continue
            if not isinstance(entry.scheduler, ReduceLROnPlateau):
                entry.scheduler.step()
            elif self._monitor in self.trainer.callback_metrics:
                entry.scheduler.step(self.trainer.callback_metrics[self._monitor])

    def _count_steps(self, steps: int) -> None:
        """Tell Lightning of the steps in a block, so that `global_step` counts them all."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for count in (progress.total, progress.current):
            count.ready += steps
            count.completed += steps

    def _forget(self, stage: str) -> None:
        self._seen[stage] = []
        self._outputs.pop(stage, None)
        self._summaries.pop(stage, None)

    def _log_summary(self, stage: str) -> None:
        summary = self.summarize(stage)
        values = {f"{stage}/{name}": summary[name] for name in HEADLINES}
        self.log_dict(values, logger=False, batch_size=1)
