"""Patients: the accuracy of a linear head on frozen features, by what a cross-validation keeps together.

    python benchmarks/patients.py --data PATH --set model=mobilenet_v2 model.weights=FILE data.normalize=imagenet

It needs images whose patients are known, and scikit-learn (extra `audit`): the head is its logistic regression on
standardised features. The features are those of `brain-tumor-tl train method=frozen`; with `--set data.cache_dir=PATH`
both share them. Folds are stratified. Intervals are bootstraps: of patients for the images of known patients, else of
the groups that `split.csv` has.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import images, measure
from brain_tumor_tl.data.leakage.file_info import load_file_info
from brain_tumor_tl.data.leakage.relations import Relations, nearest_neighbour_accuracy
from brain_tumor_tl.data.leakage.shortcuts import forest_accuracy, shortcut_features
from brain_tumor_tl.data.splits.folds import fold_split
from brain_tumor_tl.data.splits.groups import Indices, groups_of, joined
from brain_tumor_tl.data.splits.split import Split
from brain_tumor_tl.evaluation.intervals import mean_interval

C = 0.01  # of the logistic regression, the inverse of its penalty
KEPT = ["random", "grouped", "series", "copies and patients", "patients"]
Features = NDArray[np.float32]
Hits = NDArray[np.float64]


def frozen_features(options: Any, root: Path, work: Path) -> tuple[Any, Features]:
    """Return the data module and the frozen features of all images, as a run has them."""
    from brain_tumor_tl.cli.checks import checked_settings
    from brain_tumor_tl.cli.help import composed
    from brain_tumor_tl.run.kept import keep
    from brain_tumor_tl.run.training_run import TrainingRun

    fixed = [f"data.root={root}", f"data.cache_dir={work / 'cache'}", "method=frozen", "data.find_copies=true"]
    config = composed([*fixed, "name=patients", *options.set])
    run = TrainingRun(checked_settings(config), work / "run")
    return run.data, keep(run).views[0].numpy()


def groups_kept(relations: Relations, patients: Indices, name: str) -> Indices:
    """Return which images stay together, `(N,)`, by a name in `KEPT`; all but one are values of `data.fold_by`."""
    if name == "copies and patients":
        return joined(len(patients), relations.require_copies(), groups_of(patients))
    return relations.groups(name)


def head_hits(features: Features, labels: Indices, split: Split) -> NDArray[np.bool_]:
    """Return which test images a logistic regression on standardised features predicts correctly."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    head = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=5000))
    head.fit(features[split.train], labels[split.train])
    found: NDArray[np.bool_] = head.predict(features[split.test]) == labels[split.test]
    return found


def cross_validate(data: Any, features: Features, shortcuts: Any, groups: Indices, options: Any) -> dict[str, Any]:
    """Return each image's share of correct predictions over the seeds, and what else the folds show."""
    labels, patients, count = data.index.labels, data.relations.patients, len(data.index)
    hits, trained, nearest, forest = np.zeros(count), 0, 0.0, 0.0
    for seed in range(options.seeds):
        for fold in range(options.folds):
            split = fold_split(labels, groups, seed, fold, options.folds, stratify=True)
            hits[split.test] += head_hits(features, labels, split) / options.seeds
            tested = patients[split.test]
            trained += int((np.isin(tested, patients[split.train]) & (tested >= 0)).sum())
            share = len(split.test) / count / options.seeds
            nearest += share * (
                nearest_neighbour_accuracy(data.relations.thumbnails, labels, split.train, split.test) or 0
            )
            forest += share * forest_accuracy(shortcuts, labels, split, seed)
    return {"hits": hits, "trained": trained / options.seeds, "nearest": nearest, "forest": forest}


def row_of(name: str, found: dict[str, Any], apart: Hits, data: Any, units: Indices) -> dict[str, Any]:
    """Return the table's row of one way to keep images together; `apart` are the hits with patients apart."""
    hits, patients = found["hits"], data.relations.patients
    known = patients >= 0
    kinder = hits[known] - apart[known]
    return {
        "kept together": name,
        "patient in training, %": 100 * found["trained"] / int(known.sum()),
        "accuracy, known patients": interval_text(hits[known], patients[known]),
        "all images": interval_text(hits, units),
        "above copies and patients": interval_text(kinder, patients[known]),
        "1-NN": f"{100 * found['nearest']:.2f}",
        "shortcuts": f"{100 * found['forest']:.2f}",
    }


def interval_text(values: Hits, units: Indices) -> str:
    """Return a mean and its interval in percent."""
    interval = mean_interval(values, units)
    between = f" ({100 * interval[0]:.2f} to {100 * interval[1]:.2f})" if interval else ""
    return f"{100 * values.mean():.2f}{between}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Cross-validate each way to keep images together and print the table."""
    options = measure.options(
        __doc__, arguments, ("seeds", 2, "seeds of the folds, from 0"), ("folds", 5, "number of folds"), data=None
    )
    if options.data is None:
        raise SystemExit("Expected --data PATH of images whose patients are known.")
    environment = measure.environment()
    with images.work_folder() as work:
        data, features = frozen_features(options, options.data, work)
        patients = data.relations.patients
        if patients is None:
            raise SystemExit(f"Expected images of known patients in {options.data}. Give --set data.patients=CSV.")
        shortcuts = shortcut_features(load_file_info(data.index, data.cache_dir, data.intensity["window"]))[
            "all of these"
        ]
        found = {
            name: cross_validate(data, features, shortcuts, groups_kept(data.relations, patients, name), options)
            for name in KEPT
        }
        units = data.relations.known_groups("grouped")
    apart = found["copies and patients"]["hits"]
    rows = [row_of(name, each, apart, data, units) for name, each in found.items()]
    known = int((patients >= 0).sum())
    title = f"{len(patients)} images, {known} of them of {patients.max() + 1} known patients; percent"
    measure.report(title, rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
