"""Estimators: scikit-learn's classifiers on features, and their numbers as those of a head."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from brain_tumor_tl.model.heads import directions, gaussian

Floats = NDArray[np.float32] | NDArray[np.float64]
Indices = NDArray[np.int64]
Weights = Mapping[int, float] | None  # of each class
# The hyperparameters of each head.
GRIDS = {"logistic": ("C",), "lda": ("shrinkage",), "svm": ("C", "gamma"), "knn": ("neighbors",)}
PAIRWISE = ("svm", "knn")  # heads that are fitted on a table of all pairs of training images


class Scaled(NamedTuple):
    """Features of the training images on one scale.

    Attributes:
        mean: `(D,)`.
        std: `(D,)`, 1 for a feature that is the same for all images.
        parts: Whether a feature is of a backbone, `(backbones, D)`.
        rows: The features standardised, `(N, D)`.
        vectors: The features as directions, `(N, D)`; see `directions`.
    """

    mean: Tensor
    std: Tensor
    parts: Tensor
    rows: Tensor
    vectors: Tensor


def scaled(features: Tensor, parts: Tensor) -> Scaled:
    """Return features `(N, D)` on one scale; `parts` is what `membership` returns."""
    std, mean = torch.std_mean(features, 0, correction=0)
    std = torch.where(std > 0, std, 1.0)
    return Scaled(mean, std, parts, (features - mean) / std, directions(features, mean, std, parts))


def estimator(name: str, values: Mapping[str, Any], weights: Weights = None) -> Any:
    """Return scikit-learn's estimator with some hyperparameters; see `fitted_on` for what it takes."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    match name:
        case "logistic":
            return LogisticRegression(C=values["C"], class_weight=weights, max_iter=1000)
        case "lda":
            return LinearDiscriminantAnalysis("lsqr", shrinkage=values["shrinkage"])
        case "svm":
            return SVC(kernel="precomputed", C=values["C"], class_weight=weights, decision_function_shape="ovo")
        case _:
            return KNeighborsClassifier(values["neighbors"], metric="precomputed")


def fitted_on(name: str, values: Mapping[str, Any], table: Tensor) -> Floats:
    """Return what an estimator is fitted on.

    Args:
        name: The head.
        values: Its hyperparameters.
        table: The products of all pairs of directions `(N, N)` for `svm` and `knn`, else standardised features.

    Returns:
        For `svm` the kernel, for `knn` the cosine distances, else the features.
    """
    match name:
        case "svm":
            return gaussian(table, values["gamma"]).double().numpy()
        case "knn":
            return (1 - table).clamp_min(0).numpy()
        case _:
            return table.numpy()


def linear_layer(found: Any, scales: Scaled) -> dict[str, Floats]:
    """Return weight `(K, D)` and bias `(K,)` of the layer that takes features as they are to an estimator's logits."""
    weight, bias = every_class(found.coef_.astype(np.float64), found.intercept_.astype(np.float64))
    weight = weight / scales.std.double().numpy()
    return {"weight": weight, "bias": bias - weight @ scales.mean.double().numpy()}


def kernel_numbers(found: Any, gamma: float, labels: Indices, scales: Scaled) -> dict[str, Any]:
    """Return the numbers of a `KernelHead` but for weight and bias, from a fitted SVC."""
    chosen = found.support_
    coefficients = pair_coefficients(found.dual_coef_, labels[chosen])
    numbers = {"coefficients": coefficients, "offsets": found.intercept_, "gamma": gamma}
    return {**numbers, "vectors": scales.vectors[torch.from_numpy(chosen).long()]}


def pair_coefficients(dual: Floats, classes: Indices) -> Floats:
    """Return the coefficient of each support vector in the margin of each pair of classes, `(S, P)`.

    In a pair (a, b), a < b, a vector of class a has the coefficient in row b - 1 of scikit-learn's table, and one of
    class b that in row a (its user guide, "Details on multi-class strategies").

    Args:
        dual: `dual_coef_` of SVC, `(K - 1, S)`.
        classes: Class of each support vector, `(S,)`.
    """
    pairs = list(itertools.combinations(range(len(dual) + 1), 2))
    result = np.zeros((dual.shape[1], len(pairs)))
    for column, (first, second) in enumerate(pairs):
        for own, row in ((first, second - 1), (second, first)):
            result[classes == own, column] = dual[row, classes == own]
    return result


def logits_of_margins(margins: Floats, labels: Indices, weights: Weights = None) -> dict[str, Floats]:
    """Return weight `(K, P)` and bias `(K,)` of the logits of margins that were computed of images left out.

    For two classes this is Platt's scaling (1999), and for more its multinomial form. SVC's own probabilities come from
    folds that divide groups, and don't fit its predictions.

    Args:
        margins: Of each pair of classes, `(N, P)`.
        labels: `(N,)`.
        weights: Of each class; None for equal ones.
    """
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(class_weight=weights, max_iter=1000).fit(margins, labels)
    weight, bias = every_class(found.coef_, found.intercept_)
    return {"weight": weight, "bias": bias}


def every_class(weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
    """Return weights `(K, D)` and biases `(K,)` with a row for each class; of two, scikit-learn has the second's alone.

    >>> every_class(np.ones((1, 1)), np.ones(1))[0].tolist()
    [[0.0], [1.0]]
    """
    if len(weight) > 1:
        return weight, bias
    return np.concatenate([np.zeros_like(weight), weight]), np.concatenate([np.zeros_like(bias), bias])
