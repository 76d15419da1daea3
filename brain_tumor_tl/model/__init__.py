"""Model: a torchvision network cut at its head, a new head, metrics, and the LightningModule that trains them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain_tumor_tl.model.classifier import TumorClassifier as TumorClassifier

__all__ = ["TumorClassifier"]


def __getattr__(name: str) -> Any:
    """Import the classifier on first use, for it brings torch and Lightning."""
    if name == "TumorClassifier":
        from brain_tumor_tl.model.classifier import TumorClassifier

        return TumorClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
