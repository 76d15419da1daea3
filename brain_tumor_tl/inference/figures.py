"""Figures: what an evaluation tells of logits and labels, and how it differs from the results.json of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from brain_tumor_tl.evaluation.calibration import probability_metrics
from brain_tumor_tl.evaluation.hierarchy import superclass_results
from brain_tumor_tl.evaluation.intervals import run_intervals
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.model.metrics import scalars
from brain_tumor_tl.reporting.results import per_class

MEANS = ("balanced_accuracy", "macro_f1")
COMPARED = ("accuracy", *MEANS, "loss", "confusion_matrix", "per_class", "intervals", "probabilities")


def evaluation_figures(
    logits: Tensor,
    labels: NDArray[np.int64],
    classes: Sequence[str],
    units: tuple[ArrayLike | None, str],
    temperature: tuple[float | None, str | None],
    members: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return metrics, intervals and calibration of some images, with the keys of results.json.

    Args:
        logits: float32 `(N, K)`, on the device that computed them, where the loss is computed too, as in training.
        labels: True class of each image, `(N,)`.
        classes: Name of each class.
        units: Group of each image, `(N,)`, None if not known, and what the groups hold; see `run_intervals`.
        temperature: The run's; or None, and why there is none.
        members: Classes of each superclass; None without superclasses.
    """
    truth, values = torch.from_numpy(labels), logits.cpu()
    matrix = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    matrix.index_put_((truth, values.argmax(dim=1)), torch.tensor(1), accumulate=True)
    summary, counts = scalars({"confusion_matrix": matrix}, classes), matrix.tolist()
    probabilities = softmax(values.numpy())
    return {
        "accuracy": summary["accuracy"],
        **{name: summary[name] for name in MEANS},
        "loss": float(F.cross_entropy(logits, truth.to(logits.device))),
        "classes_in_means": [name for name, row in zip(classes, counts, strict=True) if sum(row)],
        "per_class": per_class(summary, classes, counts),
        "confusion_matrix": counts,
        "classes": list(classes),
        "intervals": run_intervals(labels, probabilities, classes, *units),
        "probabilities": probability_metrics(values.numpy(), labels, classes, *temperature),
    } | ({"superclasses": superclass_results(labels, probabilities, classes, members, *units)} if members else {})


def mean_of_runs(
    logits: Sequence[Tensor], temperatures: Sequence[tuple[float | None, str | None]]
) -> tuple[Tensor, tuple[float | None, str | None]]:
    """Return what stands for the logits of several runs: the logarithm of their mean probabilities; and a temperature.

    Args:
        logits: Of each run, `(N, K)`.
        temperatures: Of each run, and why it has none. The probabilities of a run that has one are calibrated by it.
    """
    if len(logits) == 1:
        return logits[0], temperatures[0]
    scaled = [
        softmax(values.cpu().numpy(), power or 1.0) for values, (power, _) in zip(logits, temperatures, strict=True)
    ]
    mean = np.log(np.maximum(np.mean(scaled, axis=0), np.finfo(np.float32).tiny))
    return torch.from_numpy(mean.astype(np.float32)), (
        None,
        "the runs have their own, by which their mean is calibrated",
    )


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the figures that differ from a run's results.json, by name, as [then, now]; only those that both have.

    >>> differences({"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.5, "loss": 1.5})
    {'loss': [1.0, 1.5]}
    """
    pairs = ((name, then[name], now[name]) for name in COMPARED if name in then and name in now)
    return {name: [old, new] for key, before, after in pairs for name, old, new in differing(key, before, after)}


def differing(name: str, then: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name and values of each number that differs between two JSON values."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in then.keys() & now.keys():
            yield from differing(f"{name}/{key}", then[key], now[key])
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for place, (old, new) in enumerate(zip(then, now, strict=True)):
            yield from differing(f"{name}/{place}", old, new)
    elif then != now:
        yield name, then, now
