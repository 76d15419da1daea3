"""Fitted: what a run does differently if scikit-learn fits its head, once, on the features of all training images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brain_tumor_tl.data.module import TumorData
from brain_tumor_tl.model.backbone import feature_count
from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.model.fitting import Fitter, candidates
from brain_tumor_tl.model.heads import is_fitted, parts_of

Settings = Mapping[str, Any]
# The settings of the Trainer for the single pass of a fit, whatever is given for heads that learn by gradients.
ONE_PASS = {
    "devices": 1, "max_epochs": 1, "max_steps": -1, "max_time": None, "check_val_every_n_epoch": 1, "patience": None,
    "ema": None, "accumulate_grad_batches": 1, "gradient_clip_val": None,
}  # fmt: skip


def trainer_settings(settings: Settings) -> Settings:
    """Return the settings of a run's Trainer."""
    trainer: Settings = settings["trainer"]
    return {**trainer, **ONE_PASS} if is_fitted(settings.get("head")) else trainer


def make_fitter(settings: Settings, model: TumorClassifier, data: TumorData) -> Fitter | None:
    """Return what fits the head of a run's model; None if the head learns by gradients.

    Cross-validation leaves out what the split leaves out: single images in a random split, whole groups or patients in
    a split of these. So the settings are chosen for the question that the test split asks.

    Args:
        settings: The run's.
        model: Its network.
        data: After `setup`.
    """
    head = settings.get("head")
    if head is None or not is_fitted(head):
        return None
    size = settings["data"]["image_size"]
    names = [settings["model"]["name"], *(entry["name"] for entry in head["backbones"])]
    widths = [feature_count(name, part, size) for name, part in zip(names, parts_of(model.backbone), strict=True)]
    groups = data.relations.groups(data.protocol.by)[data.split.train]
    return Fitter(model.head, head, widths, groups, model.classes, model.hparams["class_weights"], settings["seed"])


def fit_by(model: TumorClassifier, fitter: Fitter) -> None:
    """Let a model train by one fit of its head, on a batch of all training images' features."""
    model.learner, model.automatic_optimization = fitter, False
    model.hparams["scheduler"] = None
    model.head.requires_grad_(False)


def describe_fit(head: Settings) -> str:
    """Return how a head will be fitted, in words."""
    count = len(candidates(head["name"], head["grid"]))
    what = f"the best of {count} by" if count > 1 else "judged by"
    folds = f"{what} cross-validation in {head['folds']} folds of the training split"
    return f"{head['name']}, {folds}; optimizer, scheduler and epochs have no effect"
