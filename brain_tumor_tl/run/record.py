"""Record: the contents of a run's files."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_tumor_tl.cache import installed_version
from brain_tumor_tl.reporting.protocol_text import describe_protocol
from brain_tumor_tl.reporting.results import per_class
from brain_tumor_tl.reporting.results_file import SCHEMA
from brain_tumor_tl.reporting.study import row_for

if TYPE_CHECKING:
    from brain_tumor_tl.run.training_run import TrainingRun

PACKAGES = (
    "brain_tumor_tl", "torch", "torchvision", "lightning", "hydra-core", "omegaconf", "torchmetrics", "numpy", "pillow",
)  # fmt: skip


def results(run: TrainingRun, test_seconds: float, features: Mapping[str, Any]) -> dict[str, Any]:
    """Return the contents of `results.json` but for `intervals` and `probabilities`.

    Args:
        run: It has been tested.
        test_seconds: The time that the test took.
        features: What is known of the cached features.
    """
    settings, rows, data = run.settings, run.recorder.rows, run.data
    summary, matrix, classes = run.model.summarize("test"), run.model.confusion["test"], run.model.classes
    best, epoch = best_epoch(rows, data.monitored)
    return {
        "schema": SCHEMA,
        "name": settings["name"],
        "model": settings["model"]["name"],
        "method": settings["method"]["name"],
        "seed": settings["seed"],
        "accuracy": summary["accuracy"],
        "best_accuracy": best,
        "best_epoch": epoch,
        "epochs": len(rows),
        "stopped_early": run.stopped_early,
        **{name: summary[name] for name in ("balanced_accuracy", "macro_f1", "loss")},
        "classes_in_means": [name for name, row in zip(classes, matrix, strict=True) if sum(row)],
        "per_class": per_class(summary, classes, matrix),
        "confusion_matrix": matrix,
        "classes": classes,
        "seconds_per_epoch": seconds_per_epoch(rows, test_seconds),
        "seconds_total": run.recorder.seconds_before + time.time() - run.started,
        "features": features,
        **({} if run.fitter is None else {"head": run.fitter.about}),
        "learning": {
            "from": run.freezing.begins,
            "layers": run.freezing.share,
            "parameters": sum(p.numel() for p in run.model.parameters() if p.requires_grad),
        },
        "protocol": protocol(
            {**data.describe_split(), "nearest_neighbour": data.nearest_neighbour()},
            run.counts,
            data.monitored,
            data.protocol.stratified,
            synthetic=run.synthetic,
            limited=is_limited(settings["trainer"]),
            evaluated=best is not None,
        ),
        "study": row_for(settings["model"]["name"], settings["method"]["name"]),
        **run.origin,
        "config": settings,
        "environment": run.environment(),
    }


def seconds_per_epoch(rows: Sequence[Mapping[str, Any]], test_seconds: float) -> dict[str, float | None]:
    """Return the mean seconds of training and of the test split in an epoch, else those of the one test."""
    return {"train": mean_of(rows, "seconds/train"), "test": mean_of(rows, "seconds/test") or test_seconds}


def is_limited(trainer: Mapping[str, Any]) -> bool:
    """Tell whether a run used only some batches of a split."""
    limits = [trainer[f"limit_{name}_batches"] for name in ("train", "val", "test")]
    return any(limit is not None for limit in (*limits, trainer["overfit_batches"]))


def best_epoch(rows: Iterable[Mapping[str, Any]], monitored: str) -> tuple[float, int] | tuple[None, None]:
    """Return the best accuracy over the epochs and the first epoch that has it, counted from 1.

    Args:
        rows: One for each epoch, with `epoch`, and `<monitored>/accuracy` if the epoch evaluated that split.
        monitored: The split evaluated after each epoch.

    Returns:
        None twice if no epoch evaluated it, such as when `trainer.max_time` ends the run before.
    """
    seen = [(row[f"{monitored}/accuracy"], -row["epoch"]) for row in rows if f"{monitored}/accuracy" in row]
    if not seen:
        return None, None
    best, epoch = max(seen)
    return float(best), -int(epoch)


def best_value(rows: Iterable[Mapping[str, Any]], metric: str) -> float | None:
    """Return the best value of a metric over the epochs, of a loss the least; None if no epoch has a finite one."""
    values = [float(row[metric]) for row in rows if metric in row and math.isfinite(row[metric])]
    return (min if metric.endswith("loss") else max)(values, default=None)


def mean_of(rows: Iterable[Mapping[str, Any]], column: str) -> float | None:
    """Return the mean of a column over the rows that have it; None if no row has it."""
    values = [float(row[column]) for row in rows if column in row]
    return sum(values) / len(values) if values else None


def protocol(
    described: Mapping[str, Any],
    counts: Mapping[str, int],
    monitored: str,
    stratify: bool,
    synthetic: bool,
    limited: bool,
    evaluated: bool = True,
) -> dict[str, Any]:
    """Return `protocol` of `results.json`: how the numbers came about, in values and in words.

    Args:
        described: What is known of the split, as `describe_split` returns it.
        counts: Images in each split.
        monitored: The split evaluated after each epoch.
        stratify: Whether each split has the same share of every class.
        synthetic: Whether the images are synthetic.
        limited: Whether only some batches of a split were used.
        evaluated: Whether any epoch evaluated the monitored split; a run that stops early may end before.
    """
    weights = "best validation epoch" if monitored == "val" and evaluated else "last epoch"
    if not evaluated:
        chosen = "There is no best_accuracy: the run ended before it evaluated the monitored split."
        tested = "accuracy is that of the last weights on the test split."
    elif monitored == "test":
        chosen = "best_accuracy is the best epoch ON THE TEST SPLIT, as the study reports it: it is optimistic."
        tested = "accuracy is that of the last epoch on the test split."
    else:
        chosen = "best_accuracy is the best epoch on the validation split."
        tested = "accuracy is that of the best validation epoch's weights on the test split, which was evaluated once."
    notes = [describe_protocol(described), tested, chosen]
    if synthetic:
        notes.insert(0, "SYNTHETIC images: the results say nothing about MRI.")
    if limited:
        notes.append("Only some batches were used (trainer.limit_*_batches or overfit_batches).")
    return {
        **described,
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
    """Return what is needed to repeat a run on another machine: versions, commit, system, command."""
    return {
        "python": platform.python_version(),
        "packages": {name: installed_version(name) for name in PACKAGES},
        "git_commit": git_commit(Path(__file__).resolve().parents[2]),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "command": sys.argv,
    }


def git_commit(folder: Path) -> str | None:
    """Return the commit of a checkout, with `-dirty` if it is changed; None if the folder is none."""
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
