"""Study: the published figures that a run is shown beside."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def table1() -> dict[tuple[str, str], dict[str, float]]:
    """Return Table 1 of Kazemi 2023 by model and method: accuracies as fractions, and seconds per epoch."""
    text = files("brain_tumor_tl.evidence").joinpath("study_table1.csv").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    return {
        (row["model"], row["method"]): {
            "accuracy": float(row["accuracy_percent"]) / 100,
            "best_accuracy": float(row["best_accuracy_percent"]) / 100,
            "seconds_per_epoch": float(row["seconds_per_epoch"]),
        }
        for row in rows
    }


def row_for(model: str, method: str) -> dict[str, float] | None:
    """Return the study's row for a model and method, None where it has none."""
    return table1().get((model, method))
