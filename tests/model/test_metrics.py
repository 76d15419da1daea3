"""Metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from brain_tumor_tl.model.metrics import build_metrics, scalars

CLASSES = ["no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"]


@pytest.mark.parametrize("seed", range(5))
def test_build_metrics__agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    guess = np.where(rng.random(200) < 0.6, truth, guess)
    logits = torch.nn.functional.one_hot(torch.from_numpy(guess), 4).float()
    computed = build_metrics(4)(logits, torch.from_numpy(truth))
    values = scalars(computed, CLASSES)
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess), abs=1e-12)
    assert values["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, guess), abs=1e-12)
    assert values["macro_f1"] == pytest.approx(sk.f1_score(truth, guess, average="macro"), abs=1e-12)
    by_class = sk.precision_recall_fscore_support(truth, guess)
    for row, metric in zip(by_class, ("precision", "recall", "f1"), strict=False):
        for name, expected in zip(CLASSES, row, strict=True):
            assert values[f"{metric}/{name}"] == pytest.approx(expected, abs=1e-12)
    assert computed["confusion_matrix"].tolist() == sk.confusion_matrix(truth, guess).tolist()


def test_build_metrics__class_never_predicted_is_zero() -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 1, 1]), 4).float()
    values = scalars(build_metrics(4)(logits, torch.tensor([0, 3, 1, 1])), CLASSES)
    assert values["precision/glioma_tumor"] == values["recall/glioma_tumor"] == values["f1/glioma_tumor"] == 0
    assert values["recall/pituitary_tumor"] == 1


def test_scalars__means_of_the_classes_that_have_images() -> None:
    truth, guess = np.array([0, 0, 1, 1, 3, 3]), np.array([0, 2, 1, 1, 0, 3])
    logits = torch.nn.functional.one_hot(torch.from_numpy(guess), 4).float()
    values = scalars(build_metrics(4)(logits, torch.from_numpy(truth)), CLASSES)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = sk.balanced_accuracy_score(truth, guess)
    assert values["balanced_accuracy"] == pytest.approx(expected) == pytest.approx(2 / 3)
    assert values["macro_f1"] == pytest.approx(sk.f1_score(truth, guess, labels=[0, 1, 3], average="macro"))
