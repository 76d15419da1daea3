"""Heads: what follows the features in place of a linear layer, and features of several backbones together.

A head that is fitted by scikit-learn holds its numbers in buffers, so that it is saved, moved and exported like any
other layer; `fitting.py` fills them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LINEAR = "linear"
FITTED = ("logistic", "lda", "svm", "knn")  # by scikit-learn, without gradients
HEADS = (LINEAR, "mlp", *FITTED)
TINY = 1e-12  # below the length of any standardised row but one that is zero


def is_linear(head: Mapping[str, Any]) -> bool:
    """Tell whether a head is the linear one, from the settings of `head.`."""
    return bool(head["name"] == LINEAR)


def is_fitted(head: Mapping[str, Any] | None) -> bool:
    """Tell whether a head is fitted by scikit-learn instead of by gradients.

    Args:
        head: The settings of `head.`, None for a linear one.
    """
    return head is not None and head["name"] in FITTED


def directions(features: Tensor, mean: Tensor, std: Tensor, parts: Tensor) -> Tensor:
    """Return features as directions `(N, D)` of length 1: standardised, and each backbone's scaled to the same length.

    The product of two rows is then the mean over the backbones of the cosine between their standardised features.

    Args:
        features: `(N, D)`.
        mean: Of the training images' features, `(D,)`.
        std: Of the same, `(D,)`.
        parts: Whether a feature is of a backbone, 1 or 0, `(backbones, D)`.
    """
    rows = (features - mean) / std
    lengths = (rows.square() @ parts.T).clamp_min(TINY).sqrt()
    return rows / ((lengths @ parts) * math.sqrt(len(parts)))


class FittedHead(nn.Module):
    """Logits `(B, K)` of features `(B, D)` by what was fitted; its buffers are empty until `fill` or `load_state_dict`.

    Args:
        buffers: Their names, beyond those that `directions` needs.
    """

    mean: Tensor
    std: Tensor
    parts: Tensor

    def __init__(self, *buffers: str) -> None:
        super().__init__()
        for name in ("mean", "std", "parts", *buffers):
            self.register_buffer(name, torch.empty(0))

    def fill(self, values: Mapping[str, Tensor | NDArray[Any]]) -> None:
        """Take the numbers of a fit, by the names of the buffers, as float32 on the head's device."""
        self.load_state_dict({name: torch.as_tensor(value, dtype=torch.float32) for name, value in values.items()})

    def directions(self, features: Tensor) -> Tensor:
        """Return features as directions; see the function of this name."""
        return directions(features, self.mean, self.std, self.parts)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        """Give the buffers the sizes of a state dict's, which only a fit knows."""
        for name, own in list(self._buffers.items()):
            if own is not None and (given := state_dict.get(prefix + name)) is not None:
                self._buffers[name] = torch.empty_like(given, device=own.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class KernelHead(FittedHead):
    """A support vector machine with a Gaussian kernel; logits are linear in the margins of all pairs of classes.

    Its buffers are the support vectors as directions `(S, D)`, `gamma` `()`, each one's coefficient in the margin of
    each pair `(S, P)` with the margins' `offsets` `(P,)`, and `weight` `(K, P)` and `bias` `(K,)` of the logits.
    """

    vectors: Tensor
    gamma: Tensor
    coefficients: Tensor
    offsets: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self) -> None:
        super().__init__("vectors", "gamma", "coefficients", "offsets", "weight", "bias")

    def margins(self, features: Tensor) -> Tensor:
        """Return the margin of each pair of classes `(B, P)`, as `decision_function` of scikit-learn's SVC."""
        kernel = gaussian(self.directions(features) @ self.vectors.T, self.gamma)
        return kernel @ self.coefficients + self.offsets

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `(B, K)` of features `(B, D)`."""
        return self.margins(features) @ self.weight.T + self.bias


class NeighbourHead(FittedHead):
    """The classes among the nearest training images; logits are the logarithms of their smoothed shares.

    One further neighbour, which belongs to all classes alike, keeps a class without neighbours from probability 0.
    Its buffers are the training images' directions `(N, D)`, their `classes` `(N, K)`, 1 or 0, and the `votes` of the
    nearest, second nearest and further neighbours `(k,)`.
    """

    vectors: Tensor
    classes: Tensor
    votes: Tensor

    def __init__(self) -> None:
        super().__init__("vectors", "classes", "votes")

    def forward(self, features: Tensor) -> Tensor:
        """Return logits `(B, K)` of features `(B, D)`."""
        nearest = (self.directions(features) @ self.vectors.T).topk(len(self.votes)).indices
        counts = (self.classes[nearest] * self.votes[:, None]).sum(1)
        return ((counts + 1 / self.classes.shape[1]) / (self.votes.sum() + 1)).log()


def gaussian(products: Tensor, gamma: Tensor | float) -> Tensor:
    """Return the Gaussian kernel of directions from their products: exp(-gamma |a - b|^2), |a - b|^2 = 2 - 2ab."""
    return (gamma * (2 * products - 2)).exp()


def make_head(settings: Mapping[str, Any], features: int, classes: int) -> nn.Module:
    """Return the head of some settings, with new weights, or empty if only a fit knows its size.

    Args:
        settings: Those of `head.`.
        features: Number of features.
        classes: Number of classes.

    Raises:
        ValueError: There is no head of that name.
    """
    match settings["name"]:
        case "mlp":
            hidden = settings["hidden"]
            layers = nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(settings["dropout"]), nn.Linear(hidden, classes)
            return nn.Sequential(*layers)
        case "linear" | "logistic" | "lda":  # what standardises the features is merged into the weights of the latter
            return nn.Linear(features, classes)
        case "svm":
            return KernelHead()
        case "knn":
            return NeighbourHead()
        case name:
            raise ValueError(f"Expected `head.name` to be one of {', '.join(HEADS)}, got {name!r}.")


class Backbones(nn.Module):
    """Several backbones side by side: the features of all of them for each image.

    Args:
        backbones: Each takes images `(B, 3, H, W)` to features `(B, D)`.
    """

    def __init__(self, backbones: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(backbones)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of all backbones one after the other, `(B, sum of D)`."""
        return torch.cat([part(images) for part in self.parts], 1)


def parts_of(backbone: nn.Module) -> list[nn.Module]:
    """Return the backbones of `Backbones`, else the one backbone alone."""
    return list(backbone.parts) if isinstance(backbone, Backbones) else [backbone]


def membership(widths: Sequence[int]) -> NDArray[np.float32]:
    """Return whether a feature is of a backbone, 1 or 0, `(backbones, sum of widths)`.

    >>> membership([1, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]
    """
    return np.repeat(np.eye(len(widths), dtype=np.float32), widths, axis=1)
