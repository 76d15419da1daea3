"""Metrics: what is told of each stage, from one confusion matrix. All are fractions, 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

PER_CLASS = ("precision", "recall", "f1")


def build_metrics(classes: int) -> MetricCollection:
    """Return the metrics of a stage; row of the confusion matrix = true class.

    Macro F1 is the mean of the classes' F1; balanced accuracy follows in `scalars`. They don't add up what several
    processes saw: each process gives them the outputs of all.

    Args:
        classes: Number of classes.
    """
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(classes, average="micro", sync_on_compute=False),
            "macro_f1": MulticlassF1Score(classes, average="macro", sync_on_compute=False),
            "precision": MulticlassPrecision(classes, average=None, sync_on_compute=False),
            "recall": MulticlassRecall(classes, average=None, sync_on_compute=False),
            "f1": MulticlassF1Score(classes, average=None, sync_on_compute=False),
            "confusion_matrix": MulticlassConfusionMatrix(classes, sync_on_compute=False),
        }
    )


def scalars(computed: Mapping[str, Tensor], classes: Sequence[str]) -> dict[str, float]:
    """Return what `build_metrics` computed as numbers by name, those of a class as `f1/glioma_tumor`.

    Balanced accuracy is the mean recall of the classes that have images (Brodersen et al. 2010). torchmetrics' own
    counts one without images as 0 once it is predicted, as the test part of a clean official split may have it.

    Args:
        computed: Values by name, `()` or `(classes,)`; the confusion matrix is left out.
        classes: Name of each class.
    """
    there = computed["confusion_matrix"].sum(dim=1) > 0
    balanced = computed["recall"][there].mean() if there.any() else torch.zeros(())
    named = {name: float(value) for name, value in computed.items() if value.ndim == 0}
    named["balanced_accuracy"] = float(balanced)
    for metric in PER_CLASS:
        named |= {f"{metric}/{name}": float(value) for name, value in zip(classes, computed[metric].cpu(), strict=True)}
    return named
