"""Loss: soft targets that name one class have the loss of labels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from brain_tumor_tl.model.loss import cross_entropy

WEIGHTS = torch.tensor([0.5, 2.0, 1.0, 0.1])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_cross_entropy__soft_targets_of_one_class_are_labels(weights: torch.Tensor | None, smoothing: float) -> None:
    logits, labels = torch.randn(9, 4), torch.arange(9) % 4
    expected = F.cross_entropy(logits, labels, weights, label_smoothing=smoothing)
    assert torch.equal(cross_entropy(logits, labels, weights, smoothing), expected)
    soft = cross_entropy(logits, F.one_hot(labels, 4).float(), weights, smoothing)
    torch.testing.assert_close(soft, expected)


def test_cross_entropy__a_mixture_counts_each_label_by_its_share() -> None:
    logits = torch.randn(2, 4)
    targets = torch.tensor([[0.7, 0.3, 0, 0], [0, 0, 0.6, 0.4]])
    each = F.cross_entropy(logits.repeat_interleave(2, 0), torch.arange(4), WEIGHTS, reduction="none")
    shares = torch.tensor([0.7, 0.3, 0.6, 0.4])
    expected = (each * shares).sum() / (WEIGHTS * shares).sum()
    torch.testing.assert_close(cross_entropy(logits, targets, WEIGHTS, 0.0), expected)
