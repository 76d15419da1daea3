"""Metrics: what is reported for each stage, computed from the same predictions. All are fractions from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torchmetrics.classification as tm
from torch import Tensor
from torchmetrics import MetricCollection

PER_CLASS = ("precision", "recall", "f1")


def build_metrics(classes: int) -> MetricCollection:
    """Return the metrics of a stage; row of the confusion matrix = true class.

    `scalars` adds the means over the classes. Metrics are not synchronised between processes: each process gives them
    the outputs of all.

    Args:
        classes: Number of classes.
    """
    return MetricCollection(
        {
            "accuracy": tm.MulticlassAccuracy(classes, average="micro", sync_on_compute=False),
            "precision": tm.MulticlassPrecision(classes, average=None, sync_on_compute=False),
            "recall": tm.MulticlassRecall(classes, average=None, sync_on_compute=False),
            "f1": tm.MulticlassF1Score(classes, average=None, sync_on_compute=False),
            "confusion_matrix": tm.MulticlassConfusionMatrix(classes, sync_on_compute=False),
        }
    )


def scalars(computed: Mapping[str, Tensor], classes: Sequence[str]) -> dict[str, float]:
    """Return what `build_metrics` computed as numbers by name, those of a class as `f1/glioma_tumor`.

    Balanced accuracy and macro F1 are the mean recall (Brodersen et al. 2010) and the mean F1 of the classes that have
    images. torchmetrics' own means count a class without images as 0 once it is predicted, which happens in the test
    split of a clean official split.

    Args:
        computed: Values by name, `()` or `(classes,)`; the confusion matrix is left out.
        classes: Name of each class.
    """
    present = computed["confusion_matrix"].sum(dim=1) > 0
    named = {name: float(value) for name, value in computed.items() if value.ndim == 0}
    for name, metric in (("macro_f1", "f1"), ("balanced_accuracy", "recall")):
        named[name] = float(computed[metric][present].mean()) if present.any() else 0.0
    for metric in PER_CLASS:
        named |= {f"{metric}/{name}": float(value) for name, value in zip(classes, computed[metric].cpu(), strict=True)}
    return named
