"""Loss: what training minimises."""

from __future__ import annotations

from typing import Any

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
