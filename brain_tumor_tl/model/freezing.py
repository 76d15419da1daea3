"""Freezing: which layers of a backbone learn in which epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from brain_tumor_tl.model.parts import Parts, divide, whole

HEAD, ALL = "head", "all"  # the places after a backbone's last layer and before its first one
Place = str | float
Epochs = Sequence[tuple[Place, int | None]]


@dataclass(frozen=True)
class Stage:
    """Some epochs in which the same layers learn.

    Attributes:
        place: Where the layers begin that learn.
        parts: The backbone cut there; None if all of it learns.
        end: The first epoch after the stage; None for the end of the training.
    """

    place: Place
    parts: Parts | None
    end: int | None = None


class Freezing:
    """A backbone whose first layers are frozen: without gradients, BatchNorm and dropout in eval mode.

    Args:
        backbone: Any network of torchvision without its head.
        freeze: Whether anything is frozen.
        train_from: The first module that learns, or the share of the layers that don't, from 0 for none to 1 for all;
            None to freeze all of them.
        stages: For layers that begin to learn one after the other: places as `train_from`, "head" or "all", each with
            the number of its epochs; None in the last stage for all that are left.

    Raises:
        ValueError: The backbone can't be cut at a place, a stage has no epochs, or trains no more than that before it.

    Attributes:
        parts: The backbone cut where it is frozen in all epochs; None if nothing is.
    """

    def __init__(
        self, backbone: nn.Module, freeze: bool, train_from: Place | None = None, stages: Epochs | None = None
    ) -> None:
        self.backbone = backbone
        if stages:
            self.stages = make_stages(backbone, stages)
        else:
            place = ALL if not freeze else HEAD if train_from is None else train_from
            self.stages = [Stage(place, parts_at(backbone, place))]
        self.parts = self.stages[-1].parts
        if self.parts is not None:
            self.parts.freeze()
        self._now = self.stages[-1].parts

    def require_one_device(self, devices: int) -> None:
        """Raise a ValueError if layers begin to learn in the middle of a training on several devices.

        DDP notes at the beginning which gradients the devices exchange.
        """
        if devices > 1 and len(self.stages) > 1:
            raise ValueError(
                f"Expected one device for method.stages, got {devices}: give trainer.devices=1, or method=partial."
            )

    @property
    def head_only(self) -> bool:
        """Whether no layer of the backbone ever learns."""
        return self.parts is not None and self.parts.place is None

    @property
    def keys(self) -> frozenset[str]:
        """The names of what is frozen in all epochs, in the backbone's state dict."""
        return frozenset() if self.parts is None else self.parts.keys

    @property
    def kept_before(self) -> str | None:
        """The first module that ever learns; None if none does, or all do."""
        return self.parts.place.name if self.parts is not None and self.parts.place is not None else None

    @property
    def begins(self) -> str:
        """The first module that learns in the end; "head" if none of the backbone does, "all" if all do."""
        return self.kept_before or (ALL if self.parts is None else HEAD)

    def kept_part(self) -> nn.Module:
        """Return what is frozen in all epochs as a network for one pass, on the device where the backbone is now.

        Raises:
            ValueError: Nothing is.
        """
        if self.parts is None:
            raise ValueError("Expected a frozen part whose output can be kept, but all layers learn.")
        return self.parts.module()

    @property
    def share(self) -> float:
        """The share of the backbone's layers with weights that learn in the end."""
        if self.parts is None:
            return 1.0
        return 0.0 if self.parts.place is None else 1 - self.parts.place.depth

    def features(self, inputs: Tensor) -> Tensor:
        """Return features `(B, D)` of images `(B, 3, H, W)`, or of what the frozen part returns for them."""
        images = inputs.ndim == 4 and inputs.shape[1] == 3  # no network of torchvision has maps of three channels
        if self.parts is None:
            return inputs if inputs.ndim == 2 else self.backbone(inputs)
        return self.parts.learning(self.parts.frozen(inputs) if images else inputs)

    def begin(self, epoch: int) -> None:
        """Let the layers train that learn in an epoch, counted from 0, and freeze all others."""
        if len(self.stages) == 1:
            return
        self._now = self.at(epoch).parts
        self.backbone.requires_grad_(True).train()
        if self._now is not None:
            self._now.freeze()

    def at(self, epoch: int) -> Stage:
        """Return the stage of an epoch; the last one for all epochs after it."""
        return next((stage for stage in self.stages if stage.end is None or epoch < stage.end), self.stages[-1])

    def hold(self) -> None:
        """Keep what is frozen in eval mode, whatever mode the backbone was put in."""
        if self._now is not None:
            self._now.hold()


def learns(method: Mapping[str, Any]) -> str:
    """Return what a method trains in the end: "head" alone, "all" layers, or "part" of them.

    Args:
        method: `freeze`, and maybe `train_from` and `stages`, as `Freezing` takes them.
    """
    stages, place = method.get("stages"), method.get("train_from")
    if stages:
        place = stages[-1][0]
    if not method["freeze"] or place in (ALL, 0):
        return ALL
    return HEAD if place in (None, HEAD, 1) and (not stages or len(stages) == 1) else "part"


def parts_at(backbone: nn.Module, place: Place) -> Parts | None:
    """Return a backbone cut at a place; at "head" all of it is frozen, at "all" nothing."""
    if place in (ALL, 0):
        return None
    return whole(backbone) if place in (HEAD, 1) else divide(backbone, place)


def make_stages(backbone: nn.Module, epochs: Epochs) -> list[Stage]:
    """Return the stages that some epochs for each place make.

    Raises:
        ValueError: A place can't be cut, a stage has no epochs, or trains no more layers than the one before it.
    """
    stages, done = list[Stage](), 0
    for number, (place, count) in enumerate(epochs, start=1):
        if (count is None and number < len(epochs)) or (count is not None and count < 1):
            raise ValueError(f"Expected a number of epochs for the stage {place} of method.stages, got {count}.")
        done += count or 0
        stages.append(Stage(place, parts_at(backbone, place), done if count else None))
    check_order(stages)
    return stages


def check_order(stages: Sequence[Stage]) -> None:
    """Raise a ValueError if a stage trains no more layers than the one before it."""
    for before, after in pairwise(stages):
        if before.parts is None or (after.parts is not None and not after.parts.keys < before.parts.keys):
            raise ValueError(
                f"Expected each stage of method.stages to train more layers than the one before it, got {before.place} "
                f"before {after.place}. Begin at the head and go down."
            )
