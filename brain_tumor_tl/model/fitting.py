"""Fitting: heads by scikit-learn on features, their hyperparameters chosen by cross-validation of whole groups."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from brain_tumor_tl.model.estimators import (
    GRIDS,
    PAIRWISE,
    Indices,
    Scaled,
    Weights,
    estimator,
    fitted_on,
    kernel_numbers,
    linear_layer,
    logits_of_margins,
    scaled,
)
from brain_tumor_tl.model.heads import FittedHead, membership

log = logging.getLogger("brain_tumor_tl")
Folds = list[tuple[Indices, Indices]]
PAIRWISE_SHARE = 0.3  # of the machine's memory that the tables of all pairs of training images may take
PAIRWISE_BYTES = 24  # for each pair: the products, a kernel and its copies for the folds


class Problem(NamedTuple):
    """What a head is to learn.

    Attributes:
        name: The head, one of `FITTED`.
        table: For `svm` and `knn` products of all pairs of directions `(N, N)`, else standardised features `(N, D)`.
        labels: `(N,)`.
        folds: Training and held-out positions of each fold.
        weights: Of each class; None for equal ones.
    """

    name: str
    table: Tensor
    labels: Indices
    folds: Folds
    weights: Weights = None


class Choice(NamedTuple):
    """What cross-validation chose.

    Attributes:
        chosen: Value of each hyperparameter.
        accuracy: Of the images in the folds that were left out.
        tried: Values and accuracy of each candidate.
    """

    chosen: dict[str, Any]
    accuracy: float
    tried: list[dict[str, Any]]


class Fitter:
    """Fits a head on the features of all training images at once; it takes the place of a `Stepper`.

    Args:
        head: What `make_head` returns, filled by `learn`.
        settings: Those of `head.`.
        widths: Number of features of each backbone.
        groups: Which training images stay together in cross-validation, in the order in which they come, `(N,)`.
        classes: Name of each class.
        class_weights: Weight of each class in the fit; None for equal ones.
        seed: Of the folds.

    `about` then says what was chosen, for results.json.

    Raises:
        ModuleNotFoundError: scikit-learn is missing.
    """

    def __init__(
        self,
        head: nn.Module,
        settings: Mapping[str, Any],
        widths: Sequence[int],
        groups: Indices,
        classes: Sequence[str],
        class_weights: Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        require_scikit_learn(settings["name"])
        self.head, self.settings, self.groups, self.classes, self.seed = head, settings, groups, classes, seed
        self.parts = torch.from_numpy(membership(widths))
        self.weights = None if class_weights is None else dict(enumerate(class_weights))
        self.about: dict[str, Any] = {}

    def learn(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Choose hyperparameters, fit the head and return its logits `(N, K)`.

        Args:
            inputs: Features of all training images `(N, D)`.
            labels: `(N,)`.
        """
        name, known = self.settings["name"], labels.cpu().numpy()
        folds = grouped_folds(known, self.groups, self.settings["folds"], self.seed, self.classes)
        if name in PAIRWISE:
            check_pairs(name, len(inputs))
        scales = scaled(inputs.detach().cpu().float(), self.parts)
        table = scales.vectors @ scales.vectors.T if name in PAIRWISE else scales.rows
        problem = Problem(name, table, known, folds, self.weights)
        choice = choose(problem, self.settings["grid"])
        fit_into(self.head, problem, choice.chosen, scales)
        self.about = {"name": name, "folds": len(folds), "groups": len(np.unique(self.groups)), **choice._asdict()}
        values = " ".join(f"{key}={value}" for key, value in choice.chosen.items())
        log.info(f"Chosen    {values}: {choice.accuracy:.2%} right in cross-validation")
        logits: Tensor = self.head(inputs.float())
        return logits


def require_scikit_learn(name: str) -> None:
    """Raise a ModuleNotFoundError if scikit-learn is missing."""
    if find_spec("sklearn") is None:
        raise ModuleNotFoundError(
            f"head={name} is fitted by scikit-learn, which is missing: pip install 'brain_tumor_tl[heads]'."
        )


def grouped_folds(labels: Indices, groups: Indices, count: int, seed: int, classes: Sequence[str]) -> Folds:
    """Return training and held-out positions of each fold; no group is in both, and classes are even among the folds.

    Args:
        labels: `(N,)`.
        groups: Which images stay together, `(N,)`.
        count: Number of folds.
        seed: Of the order of the groups.
        classes: Name of each class.

    Raises:
        ValueError: A class has fewer groups than there are folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    found = {name: len(np.unique(groups[labels == label])) for label, name in enumerate(classes)}
    if few := {name: number for name, number in found.items() if number < count}:
        least = min(few.values())
        way_out = f"Give head.folds={least}" if least > 1 else "Give more images"
        raise ValueError(
            f"Expected training images of at least head.folds={count} groups in every class, since images that the "
            "split keeps together stay in one fold when a head is chosen, got "
            f"{', '.join(f'{number} of {name}' for name, number in few.items())}. {way_out}, or head=linear."
        )
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    return [(train, held) for train, held in splitter.split(np.zeros(len(labels)), labels, groups)]


def check_pairs(name: str, images: int) -> None:
    """Raise a ValueError if a table of all pairs of training images would not fit into memory."""
    memory, needed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), PAIRWISE_BYTES * images**2
    if needed > PAIRWISE_SHARE * memory:
        raise ValueError(
            f"Expected tables of all pairs of training images to take at most {PAIRWISE_SHARE:.0%} of the memory of "
            f"{memory / 1e9:.0f} GB, those of {images:,} images for head={name} would take {needed / 1e9:.0f} GB. Give "
            "head=logistic, lda, mlp or linear."
        )


def candidates(name: str, grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all combinations of the values in a grid; a single value needs no list.

    >>> candidates("svm", {"C": [1, 10], "gamma": 0.5})
    [{'C': 1, 'gamma': 0.5}, {'C': 10, 'gamma': 0.5}]
    """
    values = [grid[key] if isinstance(grid[key], list | tuple) else [grid[key]] for key in GRIDS[name]]
    return [dict(zip(GRIDS[name], chosen, strict=True)) for chosen in itertools.product(*values)]


def choose(problem: Problem, grid: Mapping[str, Any]) -> Choice:
    """Return the candidate with the best accuracy on images that were left out; of equal ones the first."""
    tried = []
    for values in candidates(problem.name, grid):
        found = held_out(problem, values, "predict")
        tried.append({**values, "accuracy": float((found == problem.labels).mean())})
    best = max(tried, key=lambda candidate: candidate["accuracy"])
    return Choice({key: best[key] for key in GRIDS[problem.name]}, best["accuracy"], tried)


def held_out(problem: Problem, values: Mapping[str, Any], method: str) -> Any:
    """Return what a method of the estimator says of each image that was left out, `(N,)` or `(N, ...)`."""
    from joblib import parallel_config
    from sklearn.model_selection import cross_val_predict

    inputs = fitted_on(problem.name, values, problem.table)
    jobs = torch.get_num_threads() if problem.name == "svm" else 1  # libsvm has one thread, the others have BLAS's
    with parallel_config(backend="threading", n_jobs=jobs):
        fresh = estimator(problem.name, values, problem.weights)
        return cross_val_predict(fresh, inputs, problem.labels, cv=problem.folds, method=method)


def fit_into(head: nn.Module, problem: Problem, values: Mapping[str, Any], scales: Scaled) -> None:
    """Fit an estimator with some hyperparameters on all training images and give its numbers to a head."""
    name, labels = problem.name, problem.labels
    scaling = {"mean": scales.mean, "std": scales.std, "parts": scales.parts}
    if isinstance(head, FittedHead) and name == "knn":  # which has nothing to fit
        classes = np.eye(labels.max() + 1)[labels]
        head.fill({**scaling, "vectors": scales.vectors, "classes": classes, "votes": np.ones(values["neighbors"])})
        return
    found = estimator(name, values, problem.weights).fit(fitted_on(name, values, problem.table), labels)
    if isinstance(head, FittedHead):
        margins = held_out(problem, values, "decision_function").reshape(len(labels), -1)
        numbers = kernel_numbers(found, values["gamma"], labels, scales)
        head.fill({**scaling, **numbers, **logits_of_margins(margins, labels, problem.weights)})
        return
    layer = linear_layer(found, scales)
    head.load_state_dict({key: torch.as_tensor(value, dtype=torch.float32) for key, value in layer.items()})
