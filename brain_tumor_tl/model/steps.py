"""Steps: the optimizer steps of one block of training batches, without the Trainer between them.

Lightning takes 1 to 2 ms for a step. That is negligible for a network on a processor, but many times the step of a
linear head, and as long as the step of a small network on a large GPU. A block passes Lightning once.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

log = logging.getLogger("brain_tumor_tl")
Forward = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
WITHOUT_GRAPHS = "Training steps can't be a CUDA graph and run one by one: {}."
WARM_UP = 3  # real steps before a CUDA graph is captured, as PyTorch's notes on CUDA graphs advise


@dataclass(frozen=True)
class Blocks:
    """How to train on many batches at a time.

    Attributes:
        batch_size: Images in an optimizer step.
        steps: Optimizer steps in an epoch.
        prepare: Takes a batch as it is stored to the network's input; None if it is one already.
        graphs: On a GPU, replay steps as a CUDA graph: True, False, or "auto" to continue without if CUDA refuses.
    """

    batch_size: int
    steps: int
    prepare: Callable[[Tensor], Tensor] | None = None
    graphs: bool | str = False


class Learner(Protocol):
    """What trains a network on a block of batches by itself."""

    def learn(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Learn from inputs `(N, ...)` and labels `(N,)`; return logits `(N, classes)`."""


class Stepper:
    """Trains on blocks, batch after batch.

    Args:
        forward: Takes inputs `(B, ...)` to logits `(B, classes)`.
        loss: Takes logits and labels `(B,)` to the loss `()`.
        optimizer: Holds the trainable parameters.
        blocks: What a block consists of.
        after_step: Called after each step, for schedulers that go by steps.
        mix: Takes a batch's inputs and labels to mixed inputs and what the loss takes in the labels' place.
    """

    def __init__(
        self,
        forward: Forward,
        loss: Loss,
        optimizer: Optimizer,
        blocks: Blocks,
        after_step: Callable[[], None],
        mix: Mix | None = None,
    ) -> None:
        self.mix, self.forward, self.loss, self.optimizer, self.after_step = mix, forward, loss, optimizer, after_step
        self.batch_size, self.prepare = blocks.batch_size, blocks.prepare
        self.graphs = blocks.graphs
        self._warmed = 0
        self._graph: GraphedStep | None = None
        self._captured: list[dict[str, Any]] = []
        self._side: torch.cuda.Stream | None = None
        if optimizer.param_groups[0]["params"][0].device.type != "cuda":
            self.graphs = False
        elif self.graphs and not can_be_captured(optimizer):
            self._stop_graphs(f"{type(optimizer).__name__} with these options reads its settings on the processor")
        if self.graphs:
            make_capturable(optimizer)

    def learn(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Take one step for each batch of a block.

        Args:
            inputs: What `prepare` takes, `(N, ...)`.
            labels: `(N,)`.

        Returns:
            Logits `(N, classes)`, each from before its own step.
        """
        logits = []
        for start in range(0, len(inputs), self.batch_size):
            batch = slice(start, start + self.batch_size)
            logits.append(self._take(inputs[batch], labels[batch]))
            self.after_step()
        return torch.cat(logits)

    def _take(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Take one step, by the graph if there is one and the batch is whole."""
        if not self.graphs or len(inputs) < self.batch_size:
            return self.step(inputs, labels)
        now = constants(self.optimizer)
        if self._warmed and now != self._captured:
            self._stop_graphs("a scheduler changes more than the learning rate")
            return self.step(inputs, labels)
        self._captured = now
        if self._warmed < WARM_UP:
            self._warmed += 1
            self._side = self._side or torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
            return on_side_stream(self._side, lambda: self.step(inputs, labels))
        self._graph = self._graph or self._capture(inputs, labels)
        return self._graph.replay(inputs, labels) if self._graph else self.step(inputs, labels)

    def step(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Take one step, operation by operation; return the logits."""
        self.optimizer.zero_grad(set_to_none=True)
        device = inputs.device.type
        if self.prepare is not None:
            with torch.autocast(device, enabled=False):  # as batches are prepared outside blocks
                inputs = self.prepare(inputs)
        inputs, targets = (inputs, labels) if self.mix is None else self.mix(inputs, labels)
        logits = self.forward(inputs)
        loss = self.loss(logits, targets)
        with torch.autocast(device, enabled=False):
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        self.optimizer.step()
        torch.clear_autocast_cache()  # it holds 16-bit copies of weights that have just changed
        return logits.detach()

    def _capture(self, inputs: Tensor, labels: Tensor) -> GraphedStep | None:
        try:
            return GraphedStep(self.step, self.optimizer, inputs, labels)
        except RuntimeError as error:
            if self.graphs is True:
                raise
            self._stop_graphs(str(error).splitlines()[0])
            return None

    def _stop_graphs(self, reason: str) -> None:
        log.warning(WITHOUT_GRAPHS.format(reason))
        self.graphs, self._graph = False, None


class GraphedStep:
    """One training step as a CUDA graph, so that a GPU need not wait for Python to launch its kernels.

    Args:
        step: Takes a step from inputs and labels, and returns logits.
        optimizer: Used by `step`; its state must exist already, and it must be capturable.
        inputs: A whole batch.
        labels: Its labels.
    """

    def __init__(
        self, step: Callable[[Tensor, Tensor], Tensor], optimizer: Optimizer, inputs: Tensor, labels: Tensor
    ) -> None:
        self.inputs, self.labels = inputs.clone(), labels.clone()
        self.graph = torch.cuda.CUDAGraph()
        optimizer.zero_grad(set_to_none=True)  # so that the graph's own memory holds the gradients
        torch.clear_autocast_cache()
        # thread_local: a thread that reads the next images into page-locked memory must not spoil the capture
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.logits = step(self.inputs, self.labels)

    def replay(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Take a step from another batch; return its logits."""
        self.inputs.copy_(inputs)
        self.labels.copy_(labels)
        self.graph.replay()
        return self.logits.clone()


def on_side_stream(side: torch.cuda.Stream, work: Callable[[], Tensor]) -> Tensor:
    """Run on another CUDA stream than the current one, as the warm-up for a graph must."""
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        result = work()
    torch.cuda.current_stream().wait_stream(side)
    return result


def can_be_captured(optimizer: Optimizer) -> bool:
    """Tell whether a CUDA graph can hold the optimizer's step.

    It must be able to keep its step count on the GPU, and must not loop over single parameters, since some of torch's
    optimizers then read the learning rate on the processor.
    """
    single = any(group.get("foreach") is False and not group.get("fused") for group in optimizer.param_groups)
    return "capturable" in inspect.signature(type(optimizer)).parameters and not single


def constants(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return the settings that a CUDA graph of the optimizer's step holds fixed: all but the learning rate."""
    moving = ("params", "lr")
    return [{key: value for key, value in group.items() if key not in moving} for group in optimizer.param_groups]


def make_capturable(optimizer: Optimizer) -> None:
    """Let the optimizer keep step count and learning rate on the GPU, where a graph reads them at each replay."""
    for group in optimizer.param_groups:
        device = group["params"][0].device
        group["capturable"] = True
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32, device=device)
    for parameter, state in optimizer.state.items():  # the count of a resumed run may still be on the processor
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].to(parameter.device, torch.float32)


def undo_capturable(states: Iterable[Mapping[str, Any]]) -> None:
    """Undo `make_capturable` in the states of optimizers, for a checkpoint that other devices may load."""
    for state in states:
        for group in state.get("param_groups", []):
            if group.get("capturable"):
                group.update(capturable=False, lr=float(group["lr"]))
