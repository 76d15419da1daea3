"""Results: rows and tables against scikit-learn, from arrays and from finished runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.reporting.results import per_class, prediction_columns, prediction_rows


def test_per_class__scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels, guesses = generator.integers(0, 3, 200), generator.integers(0, 3, 200)
    precision, recall, f1, support = precision_recall_fscore_support(labels, guesses)
    classes = ["a", "b", "c"]
    summary = {"accuracy": 0.3}
    for name, *values in zip(classes, precision, recall, f1, strict=True):
        summary |= {
            f"{metric}/{name}": value for metric, value in zip(("precision", "recall", "f1"), values, strict=True)
        }

    result = per_class(summary, classes, confusion_matrix(labels, guesses).tolist())

    assert list(result) == classes
    for label, name in enumerate(classes):
        expected = {"precision": precision[label], "recall": recall[label], "f1": f1[label]}
        assert result[name] == {**expected, "support": support[label]}
        assert type(result[name]["support"]) is int


def test_per_class__class_without_images() -> None:
    summary = {f"{metric}/{name}": 0.5 for metric in ("precision", "recall", "f1") for name in ("a", "b")}

    result = per_class(summary, ["a", "b"], [[1, 1], [0, 0]])

    assert result["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert result["b"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_per_class__matrix_of_other_classes() -> None:
    with pytest.raises(ValueError, match="zip"):
        per_class({f"{metric}/a": 1.0 for metric in ("precision", "recall", "f1")}, ["a"], [[1, 0], [0, 1]])


def test_prediction_rows__in_the_order_of_paths() -> None:
    probabilities = np.array([[0.2, 0.8], [0.75, 0.25], [0.5, 0.5]])
    rows = [*prediction_rows(["b.png", "a.png", "c.png"], ["no", "yes"], probabilities, np.array([1, 1, 0]))]
    assert [(row["path"], row["class"], row["predicted"], row["correct"]) for row in rows] == [
        ("a.png", "yes", "no", 0), ("b.png", "yes", "yes", 1), ("c.png", "no", "no", 1),
    ]  # fmt: skip
    assert rows[0]["probability/no"] == 0.75
    assert list(rows[0]) == prediction_columns(["no", "yes"])


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_prediction_rows__every_figure_can_be_computed_anew(method: str, finished_runs: dict[str, Path]) -> None:
    folder = finished_runs[method]
    results, rows = read_json(folder / "results.json"), read_csv(folder / "predictions.csv")
    classes, found = results["classes"], results["probabilities"]
    labels = np.array([int(row["label"]) for row in rows])
    probabilities = np.array([[float(row[f"probability/{name}"]) for name in classes] for row in rows])
    guess, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)

    bins = np.ceil(confidence * found["bins"])
    gaps = [abs(((guess == labels) - confidence)[bins == number].sum()) for number in set(bins.tolist())]
    accuracy = sk.accuracy_score(labels, guess), sk.balanced_accuracy_score(labels, guess)
    anew = {
        "log_loss": sk.log_loss(labels, probabilities, labels=range(4)),
        "brier": sk.brier_score_loss(labels, probabilities, labels=range(4), scale_by_half=False),
        "auroc": sk.roc_auc_score(labels, probabilities, multi_class="ovr"),
        "average_precision": sk.average_precision_score(np.eye(4)[labels], probabilities),
        "calibration_error": sum(gaps) / len(rows),
    }
    assert anew == {name: pytest.approx(found[name], abs=1e-9) for name in anew}
    assert accuracy == pytest.approx((results["accuracy"], results["balanced_accuracy"]), abs=1e-9)
    assert sk.f1_score(labels, guess, average="macro") == pytest.approx(results["macro_f1"], abs=1e-9)
    assert [row["correct"] for row in rows] == [str(int(hit)) for hit in guess == labels]
    assert results["loss"] == pytest.approx(found["log_loss"], rel=1e-5)
