"""Hierarchy: the probability of a superclass is the sum of those of its classes, and scikit-learn agrees."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from brain_tumor_tl.evaluation.hierarchy import summed, superclass_results

CLASSES = ["no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"]
TUMOR = {"no_tumor": ["no_tumor"], "tumor": ["glioma_tumor", "meningioma_tumor", "pituitary_tumor"]}


def test_superclass_results__agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels, probabilities = generator.integers(0, 4, 200), generator.dirichlet(np.ones(4) * 0.5, 200)
    truth, of_tumor = (labels > 0).astype(int), probabilities[:, 1:].sum(axis=1)

    found = superclass_results(labels, probabilities, CLASSES, TUMOR)

    guess = (of_tumor > 0.5).astype(int)
    assert list(found["per_class"]) == ["no_tumor", "tumor"]
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(truth, guess))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, guess))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, guess, average="macro"))
    assert found["auroc"] == pytest.approx(sk.roc_auc_score(truth, of_tumor))
    assert found["confusion_matrix"] == sk.confusion_matrix(truth, guess).tolist()
    sensitivity = found["per_class"]["tumor"]
    assert sensitivity["recall"] == pytest.approx(sk.recall_score(truth, guess))
    low, high = found["intervals"]["per_class"]["tumor"]["recall"]
    assert low < sensitivity["recall"] < high
    assert sensitivity["support"] == truth.sum()
    parents_of_classes = (probabilities.argmax(axis=1) > 0).astype(int)
    assert (parents_of_classes != guess).any(), "the sum decides, not the most probable class"


def test_summed__by_superclass() -> None:
    members = {"no_tumor": ["no_tumor"], "pituitary_tumor": ["pituitary_tumor"],
               "of_the_brain": ["glioma_tumor", "meningioma_tumor"]}  # fmt: skip
    values = np.array([[0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(summed(values, CLASSES, members), [[0.1, 0.2, 0.7]])
