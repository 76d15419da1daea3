"""Survey: the findings of an audit as plain values."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.data.formats import has_image_name
from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.layout import is_clutter, printable
from brain_tumor_tl.data.leakage.copies import KINDS, Copies, Pair, group_copies
from brain_tumor_tl.data.leakage.file_info import FileInfo
from brain_tumor_tl.data.leakage.relations import Relations, nearest_neighbour_accuracy
from brain_tumor_tl.data.leakage.search import TURNS
from brain_tumor_tl.data.leakage.shortcuts import Features, shortcut_accuracies, shortcut_features
from brain_tumor_tl.data.patients import Patients
from brain_tumor_tl.data.splits.groups import Indices, groups_with_several
from brain_tumor_tl.data.splits.protocol import SPLITS, Protocol, count_leaked, divide
from brain_tumor_tl.data.splits.split import Split
from brain_tumor_tl.data.volumes import split_name

SEEDS = 10  # random splits that are averaged over
FOREST_SEEDS = 3  # of these, for the shortcuts, whose forests take most of the time
THRESHOLDS = (0.86, 0.88, 0.90, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)


@dataclass(frozen=True, eq=False)
class Surveyed:
    """A data set whose files were read and searched for copies.

    Attributes:
        info: Properties of its files.
        copies: Its copies.
        patients: Its patients, None if none is known.
    """

    info: FileInfo
    copies: Copies
    patients: Patients | None = None

    @property
    def index(self) -> Index:
        """The images that could be read."""
        return self.info.index

    @cached_property
    def relations(self) -> Relations:
        """Which images must stay together in a split."""
        patients = None if self.patients is None else self.patients.numbers
        return Relations(
            self.index.paths, self.copies.pixels, self.copies.groups, patients, thumbnails=self.info.thumbnails
        )


def stray_files(index: Index) -> list[str]:
    """Return the images below the root that are in no class folder, which no run uses, without the bad files."""
    files = {str(split_name(Path(path))[0]) for path in index.paths}
    known = files.union((path for path, _ in index.bad), index.not_chosen)
    found = []
    for folder, inner, names in os.walk(index.root):
        inner[:] = sorted(name for name in inner if not is_clutter(Path(folder, name)))
        images = [Path(folder, name) for name in sorted(names) if has_image_name(name)]
        found += [image.relative_to(index.root).as_posix() for image in images if not is_clutter(image)]
    return [printable(path) for path in found if path not in known]


def contents(info: FileInfo) -> dict[str, Any]:
    """Return the number of images of each class, official split, size, mode and format."""
    index = info.index
    classes = [index.classes[label] for label in index.labels]
    official = Counter(zip(index.official, classes, strict=True))
    sizes = [f"{file.width} x {file.height}" for file in info.files]
    by_size, file_sizes = Counter(sizes).most_common(), info.column("size")
    most = by_size[0][0] if by_size else None
    of_most = Counter(name for name, size in zip(classes, sizes, strict=True) if size == most)
    return {
        "images": len(index),
        "classes": {name: classes.count(name) for name in index.classes},
        "official_splits": {
            split: {name: official[split, name] for name in index.classes} for split in sorted(set(index.official))
        },
        "different_sizes": len(by_size),
        "sizes": dict(by_size[:10]),
        "most_frequent_size": most,
        "of_most_frequent_size": {name: of_most[name] for name in index.classes},
        "modes": dict(Counter(info.column("mode")).most_common()),
        "formats": dict(Counter(info.column("format")).most_common()),
        "bytes": {"least": min(file_sizes, default=None), "greatest": max(file_sizes, default=None)},
    }


def group_counts(groups: Indices) -> dict[str, int]:
    """Return the number of groups of several images, the images in them, and those beyond the first of each."""
    counts = np.bincount(groups)
    several = counts[counts > 1]
    return {"groups": len(several), "images": int(several.sum()), "further": int(several.sum() - len(several))}


def copy_counts(surveyed: Surveyed) -> dict[str, Any]:
    """Return the number of copies of each kind, across official splits, and at other thresholds."""
    copies, kinds = surveyed.copies, surveyed.copies.kinds
    turns = Counter(pair.turn for pair in copies.pairs)
    return {
        "levels": {name: group_counts(groups) for name, groups in kinds.items()},
        "near_pairs": len(copies.pairs),
        "turns": {TURNS[turn]: count for turn, count in sorted(turns.items())},
        "across_official": {name: across_official(surveyed.index, groups) for name, groups in kinds.items()},
        "thresholds": threshold_rows(surveyed),
    }


def across_official(index: Index, groups: Indices) -> dict[str, Any] | None:
    """Return the test images of each class with a copy in another official split, None without an official test."""
    test = np.array(index.official) == "test"
    if not test.any() or test.all():
        return None
    leaked = test & np.isin(groups, groups[~test])
    of_class = {name: index.labels == label for label, name in enumerate(index.classes)}
    return {
        "test_images": int(test.sum()),
        "with_a_copy": int(leaked.sum()),
        "classes": {name: [int((leaked & own).sum()), int((test & own).sum())] for name, own in of_class.items()},
    }


def threshold_rows(surveyed: Surveyed) -> list[dict[str, Any]]:
    """Return the number of pairs and groups at other thresholds of the fine detail."""
    pairs = [*surveyed.copies.pairs, *surveyed.copies.looser]
    rows = []
    for detail in THRESHOLDS:
        copies = group_copies(surveyed.index.digests, surveyed.info.column("pixels"), pairs, detail)
        rows.append({"detail": detail, "pairs": len(copies.pairs), **group_counts(copies.groups)})
    return rows


def conflicts(surveyed: Surveyed) -> list[list[int]]:
    """Return the positions of the images of each group of copies that has more than one label."""
    groups = surveyed.copies.groups
    return [np.flatnonzero(groups == group).tolist() for group in groups_with_several(groups, surveyed.index.labels)]


def copy_rows(surveyed: Surveyed) -> list[dict[str, Any]]:
    """Return the rows of `copies.csv`: every image that has a copy, and the strictest kind of copy that it has."""
    index, groups = surveyed.index, surveyed.copies.groups
    has_copy = {name: (np.bincount(numbers) > 1)[numbers] for name, numbers in surveyed.copies.kinds.items()}
    details: dict[int, float] = {}
    for pair in surveyed.copies.pairs:
        for position in pair[:2]:
            details[position] = max(details.get(position, 0.0), pair.detail)
    return [
        {
            "path": printable(index.paths[position]),
            "class": index.classes[index.labels[position]],
            "split": index.official[position],
            "group": int(groups[position]),
            "level": next(name for name, copied in has_copy.items() if copied[position]),
            "detail": f"{details[position]:.4f}" if position in details else "",
        }
        for position in np.argsort(groups, kind="stable").tolist()
        if has_copy[KINDS[-1]][position]
    ]


def series_counts(surveyed: Surveyed) -> dict[str, Any]:
    """Return the number of series of neighbouring file numbers, and the three longest."""
    series = surveyed.relations.series
    counts = np.bincount(series)
    longest = [group for group in np.argsort(-counts, kind="stable")[:3].tolist() if counts[group] > 1]
    return {
        **group_counts(series),
        "median_length": float(np.median(counts[counts > 1])) if (counts > 1).any() else None,
        "longest": [np.flatnonzero(series == group).tolist() for group in longest],
    }


def split_findings(
    surveyed: Surveyed, names: Sequence[str], settings: Protocol, forests: bool
) -> Iterator[dict[str, Any]]:
    """Yield for each kind of split what training and test images share, and the baselines' accuracies.

    Args:
        surveyed: The data set.
        names: Values of `data.split`.
        settings: The fractions and whatever else the splits have in common.
        forests: Whether to measure shortcuts.
    """
    features = shortcut_features(surveyed.info) if forests else {}
    for name in names:
        protocol = replace(settings, split=name)
        found: dict[str, Any] = {"split": name, "title": title_of(protocol)}
        try:
            splits = repeated(protocol, surveyed)
        except ValueError as error:
            yield found | {"impossible": str(error)}
            continue
        yield found | {"repeats": len(splits), **measure(surveyed, splits, features)}


def repeated(protocol: Protocol, surveyed: Surveyed) -> list[Split]:
    """Return the splits of `SEEDS` seeds, every fold of a k-fold split, or the one split of the set's own folders.

    Raises:
        ValueError: The images don't allow such a split.
    """
    if protocol.split == "kfold":
        draws = [(replace(protocol, fold=fold), 0) for fold in range(protocol.folds)]
    else:
        draws = [(protocol, seed) for seed in range(1 if protocol.split.startswith("official") else SEEDS)]
    return [divide(each, surveyed.index, surveyed.relations, seed) for each, seed in draws]


def title_of(protocol: Protocol) -> str:
    """Return a kind of split in words, of k-fold all folds together.

    >>> title_of(Protocol("kfold", folds=3, fold_by="series"))
    'k-fold split of whole series, each of 3 folds'
    """
    title = protocol.title()
    return f"{title.rpartition(', fold ')[0]}, each of {protocol.folds} folds" if protocol.split == "kfold" else title


def measure(surveyed: Surveyed, splits: Sequence[Split], features: Features) -> dict[str, Any]:
    """Return mean and standard deviation over splits of what training and test share, and of the baselines."""
    index, relations = surveyed.index, surveyed.relations
    accuracies = [
        nearest_neighbour_accuracy(relations.thumbnails, index.labels, split.train, split.test) for split in splits
    ]
    shortcuts = [
        shortcut_accuracies(features, index.labels, split, seed) for seed, split in enumerate(splits[:FOREST_SEEDS])
    ]
    by_kind = {name: mean_and_std([row[name] for row in shortcuts]) for name in shortcuts[0]}
    return {
        "test_images": mean_and_std([len(split.test) for split in splits]),
        "classes_absent_from_test": sorted({name for split in splits for name in index.missing_classes(split.test)}),
        "identical_in_training": mean_and_std([count_leaked(split, relations.identical) for split in splits]),
        "copies_in_training": mean_and_std([count_leaked(split, relations.copies) for split in splits]),
        "series_in_training": mean_and_std([count_leaked(split, relations.series) for split in splits]),
        **patients_in_training(splits, relations.patients),
        "nearest_neighbour": mean_and_std(accuracies),
        "shortcuts": by_kind if features else None,
    }


def patients_in_training(splits: Sequence[Split], patients: Indices | None) -> dict[str, Any]:
    """Return how many test images are of known patients, and how many of these have their patient in training."""
    if patients is None:
        return {"known_patients": None, "patients_in_training": None}
    return {
        "known_patients": mean_and_std([int((patients[split.test] >= 0).sum()) for split in splits]),
        "patients_in_training": mean_and_std([count_leaked(split, patients) for split in splits]),
    }


def patient_counts(surveyed: Surveyed) -> dict[str, Any] | None:
    """Return the number of patients, of images whose patient is known, and where that is from; None for none."""
    if surveyed.patients is None:
        return None
    numbers, source = surveyed.patients.numbers, surveyed.patients.source
    return {"patients": len(np.unique(numbers[numbers >= 0])), "images": int((numbers >= 0).sum()), "source": source}


def mean_and_std(values: Sequence[float | None]) -> dict[str, float]:
    """Return mean and sample standard deviation of the values that are not None; 0 for a single one.

    >>> mean_and_std([1, 2, 3])
    {'mean': 2.0, 'std': 1.0}
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    return {"mean": float(known.mean()), "std": float(known.std(ddof=1)) if len(known) > 1 else 0.0}


def possible_splits(surveyed: Surveyed, wanted: str) -> list[str]:
    """Return the values of `data.split` that an audit measures: what is wanted, and what the set allows but k-fold."""
    impossible = {"kfold"} if surveyed.patients else {"kfold", "patients"}
    impossible |= set() if "test" in surveyed.index.official else {"official", "official_clean"}
    return [name for name in SPLITS if name == wanted or name not in impossible]


def shown_pairs(surveyed: Surveyed, count: int) -> tuple[list[Pair], list[Pair]]:
    """Return the near copies that agree least, and the pairs that agree most without being copies, `count` each."""
    copies = sorted(surveyed.copies.pairs, key=lambda pair: pair.detail)[:count]
    return copies, sorted(surveyed.copies.looser, key=lambda pair: -pair.detail)[:count]
