"""Figures: against scikit-learn, and what differs from a run's results."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from brain_tumor_tl.evaluation.calibration import run_probabilities
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.inference.figures import differences, evaluation_figures, mean_of_runs

CLASSES = ("a", "b", "c", "d")


def sample(count: int = 60, seed: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """Return logits of four classes, and labels of the first three."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    logits = generator.normal(size=(count, 4)) + 2 * np.eye(4)[labels]
    return torch.from_numpy(logits.astype(np.float32)), labels


def test_evaluation_figures__scikit_learn() -> None:
    logits, labels = sample()
    guess = logits.numpy().argmax(axis=1)

    found = evaluation_figures(logits, labels, CLASSES, (None, "image"), (2.0, None))

    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, guess), abs=1e-12)
    recall = sk.recall_score(labels, guess, labels=[0, 1, 2], average="macro")
    assert found["balanced_accuracy"] == pytest.approx(recall, abs=1e-12)
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, guess, labels=[0, 1, 2], average="macro"), abs=1e-12)
    assert found["loss"] == pytest.approx(sk.log_loss(labels, softmax(logits.numpy()), labels=range(4)), rel=1e-5)
    assert found["confusion_matrix"] == sk.confusion_matrix(labels, guess, labels=range(4)).tolist()
    assert found["classes_in_means"] == ["a", "b", "c"]
    assert found["per_class"]["d"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    assert found["intervals"]["units"] == 60


def test_evaluation_figures__calibrated_as_a_run_with_its_validation_split() -> None:
    logits, labels = sample()
    validation = sample(seed=1)
    expected = run_probabilities(logits.numpy(), labels, CLASSES, (validation[0].numpy(), validation[1]))

    found = evaluation_figures(logits, labels, CLASSES, (None, "image"), (expected["temperature"], None))

    assert expected["temperature"] is not None
    assert found["probabilities"] == expected


def test_mean_of_runs__of_calibrated_probabilities() -> None:
    first, second = sample()[0], sample(seed=1)[0]

    combined, (temperature, reason) = mean_of_runs([first, second], [(2.0, None), (None, "no split")])

    expected = (softmax(first.numpy(), 2.0) + softmax(second.numpy())) / 2
    assert np.allclose(softmax(combined.numpy()), expected, atol=1e-6)
    assert temperature is None
    assert reason
    assert mean_of_runs([first], [(2.0, None)]) == (first, (2.0, None))


def test_differences__numbers_of_both() -> None:
    then = {"accuracy": 0.5, "per_class": {"a": {"f1": None}}, "confusion_matrix": [[1, 2], [3, 4]], "name": "x"}
    now = {"accuracy": 0.5, "per_class": {"a": {"f1": 0.0}}, "confusion_matrix": [[1, 2], [4, 3]], "name": "y"}

    assert differences(then, then) == {}
    assert differences(then, now) == {
        "per_class/a/f1": [None, 0.0], "confusion_matrix/1/0": [3, 4], "confusion_matrix/1/1": [4, 3],
    }  # fmt: skip
    assert differences({}, now) == {}, "a run of an older version lacks some"
