"""Averaging: the exponential moving average (EMA) of the weights, evaluated, tested and saved in their place."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

CURRENT = "current_weights"  # in a checkpoint: what training continues with; `state_dict` has the averages
UPDATES = "averaged_steps"


class AveragedWeights(L.Callback):
    """Keeps averages of all that learns, BatchNorm's running statistics included.

    After step n, average = d average + (1 - d) weights with d = min(decay, (1 + n) / (10 + n)), as in TensorFlow's
    ExponentialMovingAverage, so that a short run doesn't average the random weights that it began with.

    Lightning's own callback takes one step for each training batch, which here may be a block of many steps, and copies
    a frozen backbone too. The module must have `on_saving`, a list of what it calls with each checkpoint, and take its
    optimizer steps outside CUDA graphs, which would repeat the first of these moves.

    Args:
        decay: Above 0 and below 1.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._averages: dict[str, Tensor] = {}
        self._learning: dict[str, Tensor] = {}  # the module's own tensors
        self._hook: Any = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Begin with the weights as they are, or with the averages of a checkpoint."""
        self._learning = learning_values(pl_module)
        if not self._averages:
            self._averages = {name: value.detach().clone() for name, value in self._learning.items()}
        for name, value in self._learning.items():  # those of a checkpoint may be on the processor
            self._averages[name] = self._averages[name].to(value.device)
        (optimizer,) = trainer.optimizers
        self._hook = optimizer.register_step_post_hook(self.update)
        pl_module.on_saving.append(self.save)

    @torch.no_grad()
    def update(self, *_: Any) -> None:
        """Move the averages towards the weights after an optimizer step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self._averages.values()), list(self._learning.values()), 1 - decay)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluate the averages during training."""
        if trainer.state.fn == TrainerFn.FITTING:
            self.swap()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on with the weights."""
        if trainer.state.fn == TrainerFn.FITTING:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange averages and weights, in place, since optimizers and CUDA graphs hold the weights."""
        for name, value in self._learning.items():
            kept = value.clone()
            value.copy_(self._averages[name])
            self._averages[name].copy_(kept)

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Put the averages into a checkpoint as its weights, and the weights beside them if training can resume."""
        state = checkpoint["state_dict"]
        if "optimizer_states" in checkpoint:
            checkpoint[CURRENT] = {name: state[name] for name in self._averages}
            checkpoint[UPDATES] = self.updates
        checkpoint["state_dict"] = {**state, **self._averages}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take averages and weights of a checkpoint apart again."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        self.updates = checkpoint[UPDATES]
        self._averages = {name: checkpoint["state_dict"][name].clone() for name in checkpoint[CURRENT]}
        pl_module.load_state_dict(checkpoint[CURRENT], strict=False)

    @torch.no_grad()
    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Leave the averages as the module's weights."""
        for name, value in self._learning.items():
            value.copy_(self._averages[name])
        self._hook.remove()
        pl_module.on_saving.remove(self.save)


def learning_values(module: nn.Module) -> dict[str, Tensor]:
    """Return by name what learns now or in a later stage: parameters, and the buffers of their layers but counters."""
    found: dict[str, Tensor] = {name: value for name, value in module.named_parameters() if value.requires_grad}
    for prefix, part in module.named_modules():
        if part.training or any(value.requires_grad for value in part.parameters(recurse=False)):
            named = part.named_buffers(prefix, recurse=False)
            found |= {name: value for name, value in named if value.is_floating_point()}
    return found
