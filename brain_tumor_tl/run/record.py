"""Record: files of a run folder, each written under a temporary name and renamed, so none is ever half."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from brain_tumor_tl.reporting.protocol_text import leakage_text

PACKAGES = (
    "brain_tumor_tl",
    "torch",
    "torchvision",
    "lightning",
    "hydra-core",
    "omegaconf",
    "torchmetrics",
    "numpy",
    "pillow",
)


def prediction_rows(
    paths: Sequence[str], classes: Sequence[str], probabilities: NDArray[Any], labels: Sequence[int] | NDArray[Any]
) -> list[dict[str, Any]]:
    """Return one row for each image, in the bytewise order of paths: truth, prediction and probabilities.

    Args:
        paths: Of the images, N of them.
        classes: Name of each class.
        probabilities: `(N, classes)`.
        labels: True class of each image.
    """
    rows = []
    for path, label, values in sorted(zip(paths, labels, probabilities.tolist(), strict=True)):
        guess = max(range(len(classes)), key=values.__getitem__)
        row: dict[str, Any] = {
            "path": path, "label": int(label), "class": classes[label],
            "predicted": classes[guess], "correct": int(guess == label),
        }  # fmt: skip
        row |= {f"probability/{name}": f"{value:.6f}" for name, value in zip(classes, values, strict=True)}
        rows.append(row)
    return rows


def per_class(
    summary: Mapping[str, float], classes: Sequence[str], confusion: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Return precision, recall, F1 and number of images of each class; None for a class without images.

    Args:
        summary: Metrics by name, such as `f1/glioma_tumor`.
        classes: Name of each class.
        confusion: Counts, row = true class.
    """
    return {
        name: {
            **{metric: summary[f"{metric}/{name}"] if sum(row) else None for metric in ("precision", "recall", "f1")},
            "support": int(sum(row)),
        }
        for name, row in zip(classes, confusion, strict=True)
    }


def best_epoch(rows: Iterable[Mapping[str, Any]], monitored: str) -> tuple[float, int] | tuple[None, None]:
    """Return the best accuracy over the epochs and the first epoch that has it, counted from 1.

    Args:
        rows: One for each epoch, with `epoch`, and `<monitored>/accuracy` where that part was looked at.
        monitored: The part that was looked at.

    Returns:
        None twice where no epoch looked at it, as when `trainer.max_time` ends the run before.
    """
    seen = [(row[f"{monitored}/accuracy"], -row["epoch"]) for row in rows if f"{monitored}/accuracy" in row]
    if not seen:
        return None, None
    best, epoch = max(seen)
    return float(best), -int(epoch)


def mean_of(rows: Iterable[Mapping[str, Any]], column: str) -> float | None:
    """Return the mean of a column over the rows that have it, None where none does."""
    values = [float(row[column]) for row in rows if column in row]
    return sum(values) / len(values) if values else None


def protocol(
    split: str,
    counts: Mapping[str, int],
    monitored: str,
    stratify: bool,
    synthetic: bool,
    limited: bool,
    looked: bool = True,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return how the figures came about, in words and in values.

    Args:
        split: How the images were split.
        counts: Images in each part.
        monitored: The part that was looked at after each epoch.
        stratify: Whether each part has the same share of every class.
        synthetic: Whether the images are drawn.
        limited: Whether only some batches of a part were used.
        looked: Whether any epoch looked at the monitored part; a run that stops early may end before.
        facts: What test and training images have in common, which is told too where it is known.
    """
    weights = "best validation epoch" if monitored == "val" and looked else "last epoch"
    if not looked:
        chosen = "There is no best_accuracy: the run ended before it looked at the monitored part."
        tested = "accuracy is that of the last weights on the test part."
    elif monitored == "test":
        chosen = "best_accuracy is the best epoch ON THE TEST PART, as the study reports it: it is optimistic."
        tested = "accuracy is that of the last epoch on the test part."
    else:
        chosen = "best_accuracy is the best epoch on the validation part."
        tested = "accuracy is that of the best validation epoch's weights on the test part, which was looked at once."
    notes = [leakage_text(facts) if facts else f"{split} split of single images.", tested, chosen]
    if synthetic:
        notes.insert(0, "SYNTHETIC images: the figures say nothing about MRI.")
    if limited:
        notes.append("Only some batches were used (trainer.limit_*_batches).")
    return {
        **(facts or {}),
        "split": split,
        "stratify": stratify,
        "counts": dict(counts),
        "monitored": monitored,
        "best_chosen_on": monitored,
        "accuracy_of": weights,
        "synthetic": synthetic,
        "limited": limited,
        "text": " ".join(notes),
    }


def environment() -> dict[str, Any]:
    """Return what is needed to repeat the run on another machine: versions, commit, system, command."""
    return {
        "python": platform.python_version(),
        "packages": {name: installed_version(name) for name in PACKAGES},
        "git_commit": git_commit(Path(__file__).resolve().parent),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "command": sys.argv,
    }


def installed_version(package: str) -> str | None:
    """Return a package's version, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def git_commit(folder: Path) -> str | None:
    """Return the commit of the package's checkout, `-dirty` if changed; None outside a checkout."""
    if not (folder.parent / ".git").exists():
        return None
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
