"""Metrics: what is reported for each stage, computed from the same predictions. All are fractions from 0 to 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchmetrics import MetricCollection

Outputs = tuple[Tensor, Tensor, Tensor]


class StageResults:
    """Logits, labels and positions of each stage's newest epoch, and the metrics that follow from them.

    Args:
        classes: Name of each class.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes, self._metrics = classes, build_metrics(len(classes))
        self.confusion: dict[str, list[list[int]]] = {}
        self._seen: dict[str, list[Outputs]] = {}
        self._outputs: dict[str, Outputs] = {}
        self._summaries: dict[str, dict[str, float]] = {}

    def add(self, stage: str, first: bool, outputs: Outputs) -> None:
        """Keep the outputs of a batch; the first one of an epoch replaces those of the epoch before."""
        if first:
            for known in (self._seen, self._outputs, self._summaries):
                known.pop(stage, None)
        self._seen.setdefault(stage, []).append(outputs)

    def outputs(self, stage: str) -> Outputs:
        """Return logits `(N, classes)`, labels and positions `(N,)` of the stage's epoch, of all processes together."""
        if stage not in self._outputs:
            self._outputs[stage] = gather_outputs(self._seen[stage])
        return self._outputs[stage]

    def summarize(self, stage: str, loss: Callable[[Tensor, Tensor], Tensor]) -> dict[str, float]:
        """Return loss and metrics of the stage's epoch as fractions by name; `confusion` then has its matrix.

        Args:
            stage: Such as "train".
            loss: Takes all logits and labels to the stage's loss.
        """
        if stage not in self._summaries:
            logits, labels, _ = self.outputs(stage)
            self._metrics.reset()
            self._metrics.update(logits.cpu(), labels.cpu())
            computed = self._metrics.compute()  # calling `_metrics` would compute the batch's own values too
            self.confusion[stage] = computed["confusion_matrix"].tolist()
            self._summaries[stage] = {"loss": float(loss(logits, labels)), **scalars(computed, self.classes)}
        return self._summaries[stage]


def build_metrics(classes: int) -> MetricCollection:
    """Return the metrics of a stage; row of the confusion matrix = true class.

    `scalars` derives all others from the confusion matrix. Metrics are not synchronised between processes: each process
    gives them the outputs of all.

    Args:
        classes: Number of classes.
    """
    import torchmetrics.classification as tm  # takes a second, and evaluations of finished runs do without
    from torchmetrics import MetricCollection

    return MetricCollection({"confusion_matrix": tm.MulticlassConfusionMatrix(classes, sync_on_compute=False)})


def scalars(computed: Mapping[str, Tensor], classes: Sequence[str]) -> dict[str, float]:
    """Return the metrics of a stage as numbers by name, those of a class as `f1/glioma_tumor`; 0 where undefined.

    They come from the confusion matrix in float64; torchmetrics' own are float32. Balanced accuracy and macro F1
    are the mean recall (Brodersen et al. 2010) and the mean F1 of the classes that have images. torchmetrics' own means
    count a class without images as 0 once it is predicted, which happens in the test split of a clean official split.

    Args:
        computed: What `build_metrics` computed, by name; of further metrics those of shape `()` are returned too.
        classes: Name of each class.
    """
    matrix = computed["confusion_matrix"].cpu().double()
    hits, truth, predicted = matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)
    found = {
        "precision": hits / predicted.clamp(min=1),
        "recall": hits / truth.clamp(min=1),
        "f1": 2 * hits / (truth + predicted).clamp(min=1),
    }
    named = {name: float(value) for name, value in computed.items() if value.ndim == 0}
    named["accuracy"] = float(hits.sum() / truth.sum().clamp(min=1))
    for name, metric in (("macro_f1", "f1"), ("balanced_accuracy", "recall")):
        named[name] = float(found[metric][truth > 0].mean()) if truth.any() else 0.0
    for metric, values in found.items():
        named |= {f"{metric}/{name}": value for name, value in zip(classes, values.tolist(), strict=True)}
    return named


def gather_outputs(batches: Sequence[Outputs]) -> Outputs:
    """Return the outputs of all batches of all processes of a run, in the order of their ranks."""
    logits, labels, positions = (torch.cat(values) for values in zip(*batches, strict=True))
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        shares: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(shares, (logits.cpu(), labels.cpu(), positions.cpu()))  # sizes may differ
        logits, labels, positions = (torch.cat(values).to(logits.device) for values in zip(*shares, strict=True))
    return logits, labels, positions
