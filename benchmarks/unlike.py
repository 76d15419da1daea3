"""Unlike: how well a run tells pictures that are no slices of a head from its test images.

    python benchmarks/unlike.py --run outputs/runs/NAME

For each kind of picture: the area under the ROC curve against the run's test images, by several distances to the same
training images, and the share that the run calls unlike its training images. Photographs and scans come with
scikit-image, scikit-learn and pydicom (extra `bench`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import measure, other_pictures
from brain_tumor_tl.data.decode import read_picture
from brain_tumor_tl.evaluation.novelty import NUMBERS, SHRINK, Reference, hashed, sample, unit
from brain_tumor_tl.evaluation.ranking import auroc
from brain_tumor_tl.files import read_csv
from brain_tumor_tl.inference.trained_run import TrainedRun

Vectors = NDArray[np.float32]
Change = Callable[[Vectors], Vectors]
Distance = Change  # (B, D) to (B,)
Row = dict[str, Any]
CHANGED = 100  # test images that are changed, for each change
DIMENSIONS = 64  # after PCA
OWN = "Mahalanobis, unit length"  # the distance that runs use


def distances_to(known: Vectors, labels: NDArray[np.int64]) -> dict[str, Distance]:
    """Return several distances to training images, by name.

    Args:
        known: Features of training images, `(N, D)`.
        labels: Their classes, `(N,)`.
    """
    shorter, shorter_unit = components(known), on(unit, components(unit(known)))
    return {
        "nearest, angle": lambda x: 1 - (unit(x) @ unit(known).T).max(axis=1),
        "10th nearest, angle": lambda x: tenth(unit(x), unit(known)),
        "nearest, angle, PCA": lambda x: squares(shorter_unit(x), shorter_unit(known)).min(axis=1),
        "nearest, Euclid": lambda x: np.sqrt(squares(x, known).min(axis=1)),
        "Mahalanobis": mahalanobis(known, labels),
        OWN: on(unit, mahalanobis(unit(known), np.zeros_like(labels))),
        "Mahalanobis, unit length, classes": on(unit, mahalanobis(unit(known), labels)),
        "Mahalanobis, PCA": on(shorter, mahalanobis(shorter(known), labels)),
    }


def components(known: Vectors) -> Change:
    """Return the projection of features on their first principal components."""
    mean = known.mean(axis=0)
    axes = np.linalg.eigh(np.cov(known.T))[1][:, ::-1][:, :DIMENSIONS].astype(np.float32)
    return lambda x: (x - mean) @ axes


def on(first: Change, then: Change) -> Change:
    """Return what one function makes of the other's result."""
    return lambda x: then(first(x))


def squares(one: Vectors, other: Vectors) -> Vectors:
    """Return squared Euclidean distances, `(B, N)`."""
    both: Vectors = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return np.maximum(both, 0)


def tenth(one: Vectors, other: Vectors) -> Vectors:
    """Return the distance to the tenth nearest of vectors of length 1, or the farthest of fewer."""
    apart = 1 - one @ other.T
    place = min(9, apart.shape[1] - 1)
    return np.partition(apart, place, axis=1)[:, place]


def mahalanobis(known: Vectors, labels: NDArray[np.int64]) -> Distance:
    """Return the Mahalanobis distance to the nearest class mean, with one covariance (Lee et al. 2018)."""
    classes = np.unique(labels)
    means = np.stack([known[labels == label].mean(axis=0) for label in classes])
    spread, axes = np.linalg.eigh(np.cov((known - means[np.searchsorted(classes, labels)]).T))
    scale = (axes / np.sqrt(np.maximum(spread, 0) + SHRINK * spread.mean())).astype(np.float32)
    return lambda x: np.sqrt(squares(x @ scale, means @ scale).min(axis=1))


def compact(features: Vectors) -> Vectors:
    """Return features, hashed if there are more than a run keeps of an image."""
    return hashed(features) if features.shape[1] > NUMBERS else features


def images_of(run: TrainedRun, split: str) -> tuple[list[Path], NDArray[np.int64]]:
    """Return paths and labels of a split of a run."""
    rows = [row for row in read_csv(run.folder / "split.csv") if row["split"] == split]
    root = Path(run.results["config"]["data"]["root"]).expanduser()
    return [root / row["path"] for row in rows], np.array([int(row["label"]) for row in rows])


def pictures_by_kind(tests: Sequence[Path]) -> tuple[dict[str, list[Any]], list[str]]:
    """Return pictures of each kind, and the kinds whose package is not installed."""
    found: dict[str, list[Any]] = {}
    absent = []
    for kind, draw in other_pictures.KINDS.items():
        try:
            found[kind] = list(draw())
        except ImportError as error:
            absent.append(f"{kind} ({error.name})")
    some = [np.asarray(read_picture(path).image) for path in tests[:: max(len(tests) // CHANGED, 1)][:CHANGED]]
    changed = {kind: [change(picture) for picture in some] for kind, change in other_pictures.CHANGES.items()}
    return found | changed, absent


def areas(alike: Sequence[Vectors], unlike: Sequence[Vectors]) -> list[float]:
    """Return the area under the ROC curve of each distance, in percent, if unlike images have the larger ones."""
    found = []
    for near, far in zip(alike, unlike, strict=True):
        scores = np.concatenate([near, far]).astype(np.float64)
        found.append(100 * float(auroc(scores, np.arange(len(scores)) >= len(near))[0]))
    return found


def table(run: TrainedRun, reference: Reference, tests: Sequence[Path], pictures: dict[str, list[Any]]) -> list[Row]:
    """Return a row for the test images and each kind of pictures.

    Args:
        run: It made the reference.
        reference: What it kept of its training images.
        tests: Some of its test images.
        pictures: Other pictures by kind.
    """
    paths, labels = images_of(run, "train")
    kept = sample(len(paths))
    distances = distances_to(compact(run.features([paths[place] for place in kept])), labels[kept])
    alike: list[Vectors] = []
    rows: list[Row] = []
    for kind, some in {"test images": tests, **pictures}.items():
        features = run.features(some)
        unlike = float((reference.distances(features) > reference.threshold).mean())
        found = [distance(compact(features)) for distance in distances.values()]
        alike = alike or found
        shown = [f"{area:.1f}" for area in areas(alike, found)] if rows else [None] * len(found)
        row: Row = {"pictures": kind, "of": len(some), "called unlike, %": 100 * unlike}
        rows.append({**row, **dict(zip(distances, shown, strict=True))})
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each kind of picture and print the table."""
    own = ("run", "", "folder of a finished run"), ("tests", 400, "test images to compare with, at most")
    options = measure.options(__doc__, arguments, *own)
    if not options.run:
        raise SystemExit("Expected --run FOLDER of a finished run.")
    environment, run = measure.environment(), TrainedRun(options.run)
    if run.reference is None:
        raise SystemExit(f"Expected a run that kept features of its training images, {options.run} has none.")
    tests, _ = images_of(run, "test")
    tests = tests[:: -(-len(tests) // options.tests)]
    pictures, absent = pictures_by_kind(tests)
    rows = table(run, run.reference, tests, pictures)
    print(f"threshold {run.reference.threshold:.2f}")
    if absent:
        print(f"left out, since a package is not installed: {', '.join(absent)}")
    measure.report("AUROC in percent, and what the run calls unlike its training images", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
