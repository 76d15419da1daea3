"""Study: the published figures that a run is shown beside, and whether it may be."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

CITATION = (
    "Armita Kazemi, Diagnosis of Brain Tumors from MRI using Deep Transfer Learning, "
    "Century High School, Rochester MN, 2023"
)
CLASSES = ("no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor")
IMAGES = 3264
EPOCHS = 100
TEST_SHARE = 0.2


def read_rows(name: str) -> list[dict[str, str]]:
    """Return the rows of one of the package's CSV files; lines that start with `#` tell the source."""
    text = files("brain_tumor_tl.evidence").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@cache
def table1() -> dict[tuple[str, str], dict[str, float]]:
    """Return Table 1 of Kazemi 2023 by model and method: accuracies as fractions, and seconds per epoch."""
    return {
        (row["model"], row["method"]): {
            "accuracy": float(row["accuracy_percent"]) / 100,
            "best_accuracy": float(row["best_accuracy_percent"]) / 100,
            "seconds_per_epoch": float(row["seconds_per_epoch"]),
        }
        for row in read_rows("study_table1.csv")
    }


@cache
def per_class() -> dict[tuple[str, str, str], dict[str, float]]:
    """Return Tables 2 to 7 by model, method and class: precision, recall and F1 as fractions."""
    metrics = ("precision", "recall", "f1")
    return {
        (row["model"], row["method"], row["class"]): {m: float(row[f"{m}_percent"]) / 100 for m in metrics}
        for row in read_rows("study_per_class.csv")
    }


def row_for(model: str, method: str) -> dict[str, float] | None:
    """Return the study's row for a model and method, None where it has none."""
    return table1().get((model, method))


def order(model: str, method: str) -> tuple[int, str, int, str]:
    """Return the key that sorts models and methods as the study's Table 1 does, others after them by name."""
    models, methods = (list(dict.fromkeys(column)) for column in zip(*table1(), strict=True))
    known_model = models.index(model) if model in models else len(models)
    known_method = methods.index(method) if method in methods else len(methods)
    return known_model, model, known_method, method


def why_apart(results: Mapping[str, Any]) -> str:
    """Return why a run's figures don't compare with the study's, an empty string where they do.

    Args:
        results: What a run's `results.json` holds.
    """
    how = results["protocol"]
    images = sum((how.get("counts") or {}).values())
    if how["synthetic"]:
        return "synthetic images"
    if how.get("limited"):
        return "only some batches were used"
    if how.get("split", "random") != "random":
        return f"{how['split']} split, not the study's random one"
    if how.get("shuffled_labels"):
        return "trained on permuted labels"
    if how.get("drop_conflicts"):
        return "without the pictures that stand under two labels"
    if ((results.get("config") or {}).get("data") or {}).get("labels"):
        return "labels of another source than the folders"
    if set(results.get("classes") or CLASSES) != set(CLASSES):
        return "other classes than the study's"
    if images and abs(images - IMAGES) > IMAGES // 100:  # a few bad files may be left out
        return f"{images} images, not the study's {IMAGES}"
    share = how["counts"].get("test", 0) / images if images else TEST_SHARE
    if abs(share - TEST_SHARE) > 0.01:
        return f"{share:.0%} of the images in the test part, not the study's {TEST_SHARE:.0%}"
    return ""
