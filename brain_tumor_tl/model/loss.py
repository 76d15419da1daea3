"""Loss: what training minimises."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float) -> Tensor:
    """Return the cross-entropy, weighted and smoothed; torch's own for labels.

    torch divides the loss of soft targets by their number, whatever the weights. Here it is divided by the sum of the
    weights, as that of labels, so that targets without a mixture have the loss of their labels.

    Args:
        logits: `(B, classes)`.
        targets: Labels `(B,)`, or soft targets `(B, classes)`, whose rows sum to 1.
        weights: Of the classes, `(classes,)`; None for equal ones.
        smoothing: Share of the target spread over all classes.
    """
    options: dict[str, Any] = {"weight": weights, "label_smoothing": smoothing}
    if targets.ndim == 1:
        return F.cross_entropy(logits, targets, **options)
    total = targets.sum() if weights is None else (targets @ weights).sum()
    return F.cross_entropy(logits, targets, reduction="sum", **options) / total


def class_weights(setting: Any, labels: Tensor, classes: int) -> list[float] | None:
    """Return the classes' weights in the loss; "balanced" stands for images / (classes x images of the class).

    Args:
        setting: None, "balanced" or the weights.
        labels: Of the training images.
        classes: Number of classes.

    Raises:
        ValueError: Balanced weights of a class without training images.
    """
    if setting != "balanced":
        return setting  # type: ignore[no-any-return]  # None or numbers, by the checks
    counts = torch.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise ValueError(f"Expected training images of every class for balanced weights, got {counts.tolist()} images.")
    weights: list[float] = (counts.sum() / (classes * counts)).tolist()
    return weights
