"""Evaluate: finished runs on their own test split again, or on another data set less the images that they have seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from rich.progress import track
from torch import Tensor

from brain_tumor_tl.console import console
from brain_tumor_tl.data.index import Index, shortened
from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.data.sources.phantom import NOTICE_FILE
from brain_tumor_tl.data.splits.groups import Indices
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.files import file_digest
from brain_tumor_tl.inference.ensemble import check_classes
from brain_tumor_tl.inference.figures import differences, evaluation_figures, mean_of_runs
from brain_tumor_tl.inference.other_set import (
    USED,
    OtherSet,
    Source,
    baseline,
    known_images,
    read_other_set,
    seen_counts,
)
from brain_tumor_tl.inference.own_test import logits_as_trained, logits_of, positions_of_test
from brain_tumor_tl.inference.run_images import OtherImagesError, RunImages, has_same_paths, open_run_images
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.model.features import CPU_CHUNK, GPU_CHUNK
from brain_tumor_tl.reporting.evaluations import SCHEMA
from brain_tumor_tl.reporting.predictions import read_predictions, read_units
from brain_tumor_tl.run import hardware


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        results: The content of evaluation.json, without `name` and `environment`.
        paths: Path of each image.
        labels: True class of each image, `(N,)`.
        probabilities: Of each image, `(N, K)`, not calibrated unless they are the mean of several runs'.
        seen: Rows of seen.csv: the images of another data set that the runs know.
    """

    results: dict[str, Any]
    paths: Sequence[str]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    seen: Sequence[Mapping[str, Any]] = field(default=())


def evaluate(
    runs: Sequence[TrainedRun],
    source: Source,
    cache_dir: Path,
    trained_on: Path | None = None,
    keep_copies: bool = False,
    unchecked: bool = False,
) -> Evaluation:
    """Evaluate runs, several by the mean of their probabilities.

    Args:
        runs: As `open_as_trained` returns them, of the same classes.
        source: The images; without a root those that the runs had, where they had them.
        cache_dir: Folder of the cache.
        trained_on: Where the images of the runs are now, if `source` are others; None for where they were.
        keep_copies: Whether images of another set that the runs have seen in training or validation are evaluated too.
        unchecked: Whether another set is evaluated though nobody can tell which of its images the runs have seen.

    Raises:
        FileNotFoundError: Images or a table aren't where they should be.
        ValueError: The runs have different classes or test images, or nothing is left to evaluate.
    """
    check_classes(runs)
    if source.root is None:
        return own_evaluation(runs, [open_run_images(run, None, source.labels, cache_dir) for run in runs], cache_dir)
    other = read_other_set(runs[0], source.root, source, cache_dir)
    if has_same_paths(runs[0], other.index):
        try:
            images = [open_run_images(run, source.root, source.labels, cache_dir) for run in runs]
        except OtherImagesError:
            pass  # other images under the same names
        else:
            return own_evaluation(runs, images, cache_dir)
    images = [] if unchecked else [images_to_compare(run, trained_on, cache_dir) for run in runs]
    return other_evaluation(runs, images, other, cache_dir, keep_copies)


def images_to_compare(run: TrainedRun, root: Path | None, cache_dir: Path) -> RunImages:
    """Return the images of a run, to be compared with another data set.

    Raises:
        FileNotFoundError: They aren't there.
        OtherImagesError: They have changed.
    """
    try:
        return open_run_images(run, root, None, cache_dir)
    except (FileNotFoundError, OtherImagesError) as error:
        kind = type(error)
        raise kind(
            f"Which images of the set {run.name} has seen can't be known without its own: "
            f"{str(error).replace('data.root=', '--trained-on ').replace('data.labels=', '--trained-on ')} Or evaluate "
            "all of them with --unchecked, and don't call it an external test."
        ) from error


def own_evaluation(runs: Sequence[TrainedRun], images: Sequence[RunImages], cache_dir: Path) -> Evaluation:
    """Evaluate runs on their own test split, and compare what a single one does with its results.json.

    Raises:
        ValueError: Runs have other test images.
    """
    first, positions = images[0], [positions_of_test(*each) for each in zip(runs, images, strict=True)]
    for run, own, tested in zip(runs, images, positions, strict=True):
        if not np.array_equal(tested, positions[0]) or own.index.digest() != first.index.digest():
            shared = len({own.index.paths[i] for i in tested} & {first.index.paths[i] for i in positions[0]})
            raise ValueError(
                f"Expected runs with the same test images, {runs[0].name} has {len(positions[0])} and {run.name} "
                f"{len(tested)}, {shared} of them in both: an image that one is tested on another may be trained on. "
                "Give runs of one split, which have the same data, seed and data.* settings."
            )
    logits = [
        logits_as_trained(run, own, tested, cache_dir) for run, own, tested in zip(runs, images, positions, strict=True)
    ]
    paths = [printable(first.index.paths[position]) for position in positions[0]]
    labels = first.index.labels[positions[0]]
    about = data_set(first.index, len(paths), own=True)
    protocol = {
        key: runs[0].results["protocol"].get(key) for key in ("title", "nearest_neighbour", "synthetic", "text")
    }
    found = evaluation_of(
        runs, logits, paths, labels, read_units(runs[0].folder, paths), about | {"protocol": protocol}
    )
    if len(runs) == 1:
        found.results["compared"] = compared(runs[0], found)
    return found


def other_evaluation(
    runs: Sequence[TrainedRun], images: Sequence[RunImages], other: OtherSet, cache_dir: Path, keep_copies: bool
) -> Evaluation:
    """Evaluate runs on another data set.

    Args:
        runs: The runs.
        images: The images of each run; empty if nobody looks which ones they have seen.
        other: The other set.
        cache_dir: Folder of the cache.
        keep_copies: Whether to evaluate images that a run has seen too.
    """
    rows = [row for run, own in zip(runs, images, strict=False) for row in known_images(run, own, other, cache_dir)]
    paths, used = [printable(path) for path in other.index.paths], {row["path"] for row in rows if row["split"] in USED}
    kept = np.array([i for i, path in enumerate(paths) if keep_copies or path not in used], np.int64)
    if not len(kept):
        raise ValueError(
            f"Expected images in {other.index.root} that the run has not seen; all {len(paths)} have a copy in its "
            f"training or validation split.{left_out_sentence(other)} --keep-copies evaluates images that it has seen."
        )
    groups, unit = other.units(cache_dir)
    about = data_set(other.index, len(kept), own=False) | {
        "seen": seen_counts(rows, other, kept, bool(images), keep_copies),
        "protocol": {
            "synthetic": (other.index.root / NOTICE_FILE).is_file(),
            "nearest_neighbour": baseline(images[0], other, kept, cache_dir) if images else None,
        },
    }
    about["data_set"]["labels_left_out"] = dict(other.unknown)
    pixels = torch.from_numpy(other.decoded.array)
    logits = [logits_at(run, pixels, kept) for run in runs]
    chosen = [paths[i] for i in kept]
    return evaluation_of(runs, logits, chosen, other.index.labels[kept], (groups[kept], unit), about, rows)


def left_out_sentence(other: OtherSet) -> str:
    """Return which folders and labels of another set are of no class of the run, and the way out; empty if none."""
    names = [*other.index.left_out, *(name for name in other.unknown if name)]
    if not names:
        return ""
    return (
        f" Images of {printable(shortened(names))} are left out, since these are no classes of the run; name the class "
        "that each is of, such as data.classes=[[glioma_tumor,GBM]]."
    )


def logits_at(run: TrainedRun, pixels: Tensor, positions: Indices) -> Tensor:
    """Return the logits of some decoded images, uint8 `(N, C, H, W)`, float32 `(len(positions), K)`."""
    size = GPU_CHUNK if run.device.type == "cuda" else CPU_CHUNK
    starts, found = range(0, len(positions), size), []
    with torch.inference_mode():
        for start in track(starts, f"Evaluating {run.name}", console=console, transient=True):
            found.append(logits_of(run, run.inputs(pixels[torch.from_numpy(positions[start : start + size])])))
    return torch.cat(found)


def data_set(index: Index, count: int, own: bool) -> dict[str, Any]:
    """Return what evaluation.json says of the images."""
    return {
        "data_set": {
            "root": printable(str(index.root)),
            "own": own,
            "images": len(index),
            "evaluated": count,
            "digest": index.digest(),
            "classes_without_images": index.missing_classes(),
            "folders_left_out": [printable(name) for name in index.left_out],
            "bad": [[printable(path), reason] for path, reason in index.bad],
        }
    }


def evaluation_of(
    runs: Sequence[TrainedRun],
    logits: Sequence[Tensor],
    paths: Sequence[str],
    labels: NDArray[np.int64],
    units: tuple[ArrayLike | None, str],
    about: Mapping[str, Any],
    seen: Sequence[Mapping[str, Any]] = (),
) -> Evaluation:
    """Return the evaluation of some images by the logits of the runs.

    Args:
        runs: The runs.
        logits: Of each run, `(N, K)`.
        paths: Path of each image.
        labels: True class of each image, `(N,)`.
        units: Group of each image, and what the groups hold.
        about: What evaluation.json says beside the figures.
        seen: Rows of seen.csv.
    """
    reasons = [(run.results.get("probabilities") or {}).get("no_temperature") for run in runs]
    temperatures = [(run.temperature, reason) for run, reason in zip(runs, reasons, strict=True)]
    combined, temperature = mean_of_runs(logits, temperatures)
    figures = evaluation_figures(combined, labels, runs[0].classes, units, temperature, runs[0].superclasses)
    results = {"schema": SCHEMA, "runs": [identity(run) for run in runs], "seen": None, "compared": None}
    return Evaluation({**results, **about, **figures}, paths, labels, softmax(combined.cpu().numpy()), seen)


def identity(run: TrainedRun) -> dict[str, Any]:
    """Return which run it was, and a digest by which a run trained anew is told from it."""
    protocol = run.results["protocol"]
    return {
        **{key: run.results[key] for key in ("name", "model", "method", "seed", "epochs")},
        "weights": protocol["accuracy_of"],
        "results_sha256": file_digest(run.folder / "results.json"),
        "precision": run.precision,
        "device": hardware.device_name(run.device),
    }


def compared(run: TrainedRun, found: Evaluation) -> dict[str, Any]:
    """Return how an evaluation of a run's own test split differs from the run's files."""
    then = read_predictions(run.folder)
    columns = [f"probability/{name}" for name in run.classes]
    environment = run.results.get("environment") or {}
    before = np.array([[float(then[path][name]) for name in columns] for path in found.paths])
    return {
        "figures": differences(run.results, found.results),
        "predictions": int((before.argmax(axis=1) != found.probabilities.argmax(axis=1)).sum()),
        "largest_difference": float(np.abs(before - found.probabilities).max()),
        "device": [environment.get("device"), hardware.device_name(run.device)],
        "precision": [environment.get("precision"), run.precision],
    }
