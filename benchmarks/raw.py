"""Raw: the upper limit of speed, a plain PyTorch loop with torchvision's network over batches in memory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from benchmarks.measure import seconds_of

CLASSES = 4
POOL = 8  # distinct batches in memory; more than any CPU cache holds at 224 pixels
Step = Callable[[Tensor, Tensor], None]


def layout_of(channels_last: bool) -> torch.memory_format:
    """Return PyTorch's memory format."""
    return torch.channels_last if channels_last else torch.contiguous_format


def network(name: str, device: torch.device, channels_last: bool) -> nn.Module:
    """Return a torchvision network with random weights and four classes, without auxiliary heads."""
    options = {"aux_logits": False, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    built: nn.Module = models.get_model(name, weights=None, num_classes=CLASSES, **options)
    return built.to(device).to(memory_format=layout_of(channels_last))


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the autocast context of one of Lightning's precisions.

    Raises:
        ValueError: It is neither 32-true nor bf16-mixed.
    """
    if precision not in ("32-true", "bf16-mixed"):
        raise ValueError(f"Expected precision 32-true or bf16-mixed for the raw loop, got {precision}.")
    # A CUDA graph must not capture casts that autocast caches between steps.
    return torch.autocast(device.type, torch.bfloat16, enabled=precision != "32-true", cache_enabled=False)


def like(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], **more: Any) -> torch.optim.Optimizer:
    """Return an optimizer of the same class and arguments for other parameters.

    Args:
        optimizer: The package's optimizer, fused or not.
        parameters: Parameters of the new one.
        more: Further arguments, used if the class accepts them.
    """
    taken = inspect.signature(type(optimizer)).parameters
    arguments = {key: value for key, value in {**optimizer.defaults, **more}.items() if key in taken}
    copy: torch.optim.Optimizer = type(optimizer)(parameters, **arguments)
    return copy


class RawLoop:
    """Forward, loss, backward and optimizer step, nothing else.

    Args:
        network: The network, on its device and in its layout.
        optimizer: The loop's own optimizer has the same class and arguments.
        precision: "32-true" or "bf16-mixed".
        shape: Shape of a batch, `(B, 3, H, W)` or `(B, D)`; inputs are random float32 tensors made beforehand.
        channels_last: Whether inputs have the channels-last layout.
        graphed: Whether steps over full batches are captured as CUDA graphs.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        precision: str,
        shape: tuple[int, ...],
        channels_last: bool,
        graphed: bool = False,
    ) -> None:
        self.network, self.precision, self.batch_size = network, precision, shape[0]
        self.device = next(network.parameters()).device
        layout = layout_of(channels_last and len(shape) == 4)
        self.pool = [torch.rand(shape, device=self.device).to(memory_format=layout) for _ in range(POOL)]
        self.labels = torch.arange(shape[0], device=self.device) % CLASSES
        more: Mapping[str, Any] = {"capturable": True} if graphed else {}
        self.optimizer = like(optimizer, network.parameters(), **more)
        self.whole: dict[str, Step] = {}
        self.turns = count()
        self.graphed = graphed

    def seconds(self, stage: str, sizes: Sequence[int]) -> float:
        """Return the seconds of an epoch.

        Args:
            stage: "train" or "test".
            sizes: Number of images in each batch.
        """
        self.network.train(stage == "train")
        step = self.train_step if stage == "train" else self.test_step
        whole = self.graph(stage, step) if self.graphed else step

        def epoch() -> None:
            for size in sizes:
                chosen = whole if size == self.batch_size else step
                chosen(self.pool[next(self.turns) % POOL][:size], self.labels[:size])

        return seconds_of(epoch)

    def train_step(self, images: Tensor, labels: Tensor) -> None:
        """Train on a batch."""
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(images, labels).backward()
        self.optimizer.step()

    @torch.inference_mode()
    def test_step(self, images: Tensor, labels: Tensor) -> None:
        """Evaluate a batch."""
        self.loss(images, labels)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        with autocast(self.device, self.precision):
            logits = self.network(images)
        return F.cross_entropy(logits.float(), labels)

    def graph(self, stage: str, step: Step) -> Step:
        """Return the stage's step as a CUDA graph, captured on first use."""
        if stage not in self.whole:
            self.whole[stage] = captured(step, self.pool[0].clone(), self.labels.clone())
        return self.whole[stage]


def captured(step: Step, images: Tensor, labels: Tensor) -> Step:
    """Capture a step as a CUDA graph; return a function that copies a batch into its inputs and replays it.

    Three warm-up steps on a side stream come first, as PyTorch's notes on CUDA semantics require.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(images, labels)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # TensorBoard's thread may call CUDA meanwhile
        step(images, labels)

    def replay(new_images: Tensor, new_labels: Tensor) -> None:
        images.copy_(new_images)
        labels.copy_(new_labels)
        graph.replay()

    return replay
