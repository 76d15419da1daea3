"""Study: the published figures that results are compared with, and whether a run can be compared with them.

The figures are in `study/`. Table 1 is `table1.csv`; its seconds are from the author's machine, which the study doesn't
name. Tables 2 to 7 are `per_class.csv`, in whole percent as printed; VGG16 has none. One row contradicts itself: the F1
of resnet50, finetune, glioma_tumor is printed as 86, but its precision and recall give 90.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from brain_tumor_tl.files import read_csv

CITATION = (
    "Armita Kazemi, Diagnosis of Brain Tumors from MRI using Deep Transfer Learning, "
    "Century High School, Rochester MN, 2023"
)
CLASSES = {"no_tumor", "pituitary_tumor", "meningioma_tumor", "glioma_tumor"}
IMAGES = 3264
EPOCHS = 100
TEST_SHARE = 0.2
FIGURES = Path(__file__).with_suffix("")


@cache
def table1() -> dict[tuple[str, str], dict[str, float]]:
    """Return Table 1 by model and method: last and best accuracy on the test split, seconds per epoch."""
    return {(row["model"], row["method"]): figures(row) for row in read_csv(FIGURES / "table1.csv")}


@cache
def per_class() -> dict[tuple[str, str, str], dict[str, float]]:
    """Return Tables 2 to 7 by model, method and class: precision, recall and F1."""
    return {(row["model"], row["method"], row["class"]): figures(row) for row in read_csv(FIGURES / "per_class.csv")}


def figures(row: Mapping[str, str]) -> dict[str, float]:
    """Return the figures in a row, percentages as fractions."""
    found = {key: float(value) for key, value in row.items() if key not in ("model", "method", "class")}
    return {key: value if key == "seconds_per_epoch" else value / 100 for key, value in found.items()}


def row_for(model: str, method: str) -> dict[str, float] | None:
    """Return the figures of a model and method in Table 1, None if it has none."""
    return table1().get((model, method))


def order(model: str, method: str) -> tuple[int, str, int, str]:
    """Return a sort key: models and methods in the order of Table 1, then others by name."""
    models, methods = (list(dict.fromkeys(column)) for column in zip(*table1(), strict=True))
    known_model = models.index(model) if model in models else len(models)
    known_method = methods.index(method) if method in methods else len(methods)
    return known_model, model, known_method, method


def settings_of_head(results: Mapping[str, Any]) -> str:
    """Return the name of a run's head; runs of earlier versions have a linear one."""
    return str(((results.get("config") or {}).get("head") or {}).get("name", "linear"))


def why_incomparable(results: Mapping[str, Any]) -> str:
    """Return why a run can't be compared with the study, an empty string if it can.

    Args:
        results: Content of a run's `results.json`.
    """
    protocol = results["protocol"]
    split = protocol.get("split", "random")
    counts = protocol.get("counts") or {}
    images = sum(counts.values()) or IMAGES
    share = counts.get("test", 0) / images if counts else TEST_SHARE
    share_text = f"{share:.0%} of the images in the test split, not the study's {TEST_SHARE:.0%}"
    reasons = {
        "synthetic images": protocol["synthetic"],
        "only some batches were used": protocol.get("limited"),
        f"{split} split, not the study's random one": split != "random",
        "another head than the study's linear one": settings_of_head(results) != "linear",
        "trained on permuted labels": protocol.get("shuffled_labels"),
        "images with conflicting labels were dropped": protocol.get("drop_conflicts"),
        "labels from another source than the folders": ((results.get("config") or {}).get("data") or {}).get("labels"),
        "other classes than the study's": set(results.get("classes") or CLASSES) != CLASSES,
        f"{images} images, not the study's {IMAGES}": abs(images - IMAGES) > IMAGES // 100,  # some files may be bad
        share_text: abs(share - TEST_SHARE) > 0.01,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")
