"""Survey: what an audit finds in a data set, as plain values. Pure functions of what was read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.data.index import EXTENSIONS, Index, is_clutter, printable
from brain_tumor_tl.data.leakage.copies import TURNS, Duplicates, Pair, grouped
from brain_tumor_tl.data.leakage.file_info import FileInfo
from brain_tumor_tl.data.leakage.relations import Relations, nearest_neighbour_accuracy, pooled
from brain_tumor_tl.data.leakage.shortcuts import Features, shortcut_accuracies, shortcut_features
from brain_tumor_tl.data.splits.protocol import SPLITS, Protocol, divide, shared
from brain_tumor_tl.data.splits.random import Indices, Split
from brain_tumor_tl.data.splits.series import find_series

SEEDS = 10  # random splits that are averaged over
FOREST_SEEDS = 3  # of these, for the shortcuts: forests are what takes the time
THRESHOLDS = (0.86, 0.88, 0.90, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
LEVELS = ("identical files", "identical pixels", "near copies")


@dataclass(frozen=True)
class Surveyed:
    """A data set that was read and searched.

    Attributes:
        facts: What its files are.
        copies: Which of them are copies.
        runs: Group of each image by runs of file numbers alone, `(N,)`.
        pictures: The pictures that look-ups compare, float32 `(N, 32, 32)`.
    """

    facts: FileInfo
    copies: Duplicates
    runs: Indices = field(init=False)
    pictures: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pictures", pooled(self.facts.thumbnails))
        object.__setattr__(self, "runs", find_series(self.index.paths, self.pictures))

    @property
    def index(self) -> Index:
        """The images that could be read."""
        return self.facts.index

    def relations(self) -> Relations:
        """Return what a split has to know."""
        return Relations(self.index.paths, self.copies.pixels, self.copies.groups, thumbnails=self.facts.thumbnails)


def stray_files(index: Index) -> list[str]:
    """Return the images below the root that are in no class folder: no run sees them. Bad files are known already."""
    known = {*index.paths, *(path for path, _ in index.bad)}
    found = []
    for folder, inner, names in os.walk(index.root):
        inner[:] = sorted(name for name in inner if not is_clutter(Path(folder, name)))
        for name in sorted(names):
            path = Path(folder, name)
            relative = path.relative_to(index.root).as_posix()
            if path.suffix.lower() in EXTENSIONS and not is_clutter(path) and relative not in known:
                found.append(printable(relative))
    return found


def contents(facts: FileInfo) -> dict[str, Any]:
    """Return how many images there are of each class, part, size, mode and format."""
    index = facts.index
    classes = [index.classes[label] for label in index.labels]
    sizes = [f"{file.width} x {file.height}" for file in facts.files]
    most = Counter(sizes).most_common(1)[0][0] if sizes else None
    return {
        "images": len(index),
        "classes": {name: classes.count(name) for name in index.classes},
        "parts": {
            part: {name: Counter(pairs)[part, name] for name in index.classes}
            for pairs in [list(zip(index.parts, classes, strict=True))]
            for part in sorted(set(index.parts))
        },
        "different_sizes": len(set(sizes)),
        "sizes": dict(Counter(sizes).most_common(10)),
        "most_frequent_size": most,
        "of_most_frequent_size": {
            name: sum(size == most for size, of in zip(sizes, classes, strict=True) if of == name)
            for name in index.classes
        },
        "modes": dict(Counter(facts.column("mode")).most_common()),
        "formats": dict(Counter(facts.column("format")).most_common()),
        "bytes": {
            "least": min(facts.column("size"), default=None),
            "greatest": max(facts.column("size"), default=None),
        },
    }


def several(groups: Indices) -> dict[str, int]:
    """Return how many groups have more than one image, the images in them, and how many are more than one each."""
    counts = np.bincount(groups) if len(groups) else np.zeros(0, dtype=np.int64)
    more = counts[counts > 1]
    return {"groups": len(more), "images": int(more.sum()), "further": int(more.sum() - len(more))}


def copy_counts(surveyed: Surveyed) -> dict[str, Any]:
    """Return how many copies there are by each level, across folders, and at other thresholds."""
    copies = surveyed.copies
    by_level = dict(zip(LEVELS, (copies.files, copies.pixels, copies.groups), strict=True))
    return {
        "levels": {name: several(groups) for name, groups in by_level.items()},
        "near_pairs": len(copies.pairs),
        "turns": {TURNS[turn]: count for turn, count in sorted(Counter(pair.turn for pair in copies.pairs).items())},
        "across_parts": {name: across_parts(surveyed.index, groups) for name, groups in by_level.items()},
        "thresholds": threshold_rows(surveyed),
    }


def across_parts(index: Index, groups: Indices) -> dict[str, Any] | None:
    """Return how many test images of each class have a copy in the other parts, None without official parts."""
    test = np.array([part == "test" for part in index.parts])
    if not test.any() or test.all():
        return None
    leaked = test & np.isin(groups, groups[~test])
    return {
        "test_images": int(test.sum()),
        "with_a_copy": int(leaked.sum()),
        "classes": {
            name: [int((leaked & (index.labels == label)).sum()), int((test & (index.labels == label)).sum())]
            for label, name in enumerate(index.classes)
        },
    }


def threshold_rows(surveyed: Surveyed) -> list[dict[str, Any]]:
    """Return how many pairs and groups other thresholds of the fine detail would make."""
    pairs = [*surveyed.copies.pairs, *surveyed.copies.looser]
    rows = []
    for detail in THRESHOLDS:
        found = grouped(surveyed.index.digests, surveyed.facts.column("pixels"), pairs, detail)
        rows.append({"detail": detail, "pairs": len(found.pairs), **several(found.groups)})
    return rows


def conflicts(surveyed: Surveyed) -> list[list[int]]:
    """Return the positions of the images of each group of copies that stands under more than one label."""
    groups, labels = surveyed.copies.groups, surveyed.index.labels
    members: dict[int, list[int]] = {}
    for position, group in enumerate(groups.tolist()):
        members.setdefault(group, []).append(position)
    return [those for those in members.values() if len(set(labels[those].tolist())) > 1]


def copy_rows(surveyed: Surveyed) -> list[dict[str, Any]]:
    """Return the rows of `duplicates.csv`: every image that has a copy, and by what it has one."""
    index, copies = surveyed.index, surveyed.copies
    sizes = [np.bincount(groups) for groups in (copies.files, copies.pixels, copies.groups)]
    details: dict[int, float] = {}
    for pair in copies.pairs:
        for position in pair[:2]:
            details[position] = max(details.get(position, 0.0), pair.detail)
    rows: list[dict[str, Any]] = []
    for position in np.argsort(copies.groups, kind="stable").tolist():
        places = (copies.files[position], copies.pixels[position], copies.groups[position])
        levels = [name for name, size, place in zip(LEVELS, sizes, places, strict=True) if size[place] > 1]
        if levels:
            rows.append({
                "path": printable(index.paths[position]), "class": index.classes[int(index.labels[position])],
                "part": index.parts[position], "group": int(copies.groups[position]), "level": levels[0],
                "detail": f"{details[position]:.4f}" if position in details else "",
            })  # fmt: skip
    return rows


def run_counts(surveyed: Surveyed) -> dict[str, Any]:
    """Return how many runs of neighbouring file numbers there are, and the three longest."""
    counts = np.bincount(surveyed.runs)
    longest = [group for group in np.argsort(-counts, kind="stable")[:3].tolist() if counts[group] > 1]
    return {
        **several(surveyed.runs),
        "median_length": float(np.median(counts[counts > 1])) if (counts > 1).any() else None,
        "longest": [np.flatnonzero(surveyed.runs == group).tolist() for group in longest],
    }


def split_findings(
    surveyed: Surveyed, names: Sequence[str], test_fraction: float, stratify: bool, forests: bool
) -> Iterator[dict[str, Any]]:
    """Yield what each kind of split would leave in common, and what reaches what on it.

    Args:
        surveyed: The data set.
        names: Of splits, as `data.split` has them; but for k-fold.
        test_fraction: Share of the test part where no folders make it.
        stratify: Whether each part has the same share of every class.
        forests: Whether to measure shortcuts.
    """
    features = shortcut_features(surveyed.facts) if forests else {}
    for name in names:
        protocol = Protocol(name, test_fraction, stratify=stratify)
        seeds = 1 if name.startswith("official") else SEEDS
        try:
            splits = [divide(protocol, surveyed.index, surveyed.relations(), seed) for seed in range(seeds)]
        except ValueError as error:
            yield {"split": name, "title": protocol.title(), "impossible": str(error)}
            continue
        yield {"split": name, "title": protocol.title(), "seeds": seeds, **measured(surveyed, splits, features)}


def measured(surveyed: Surveyed, splits: Sequence[Split], features: Features) -> dict[str, Any]:
    """Return mean and standard deviation over some splits of what they leave in common and what is reached on them."""
    index, copies = surveyed.index, surveyed.copies
    shortcuts = [
        shortcut_accuracies(features, index.labels, split, seed) for seed, split in enumerate(splits[:FOREST_SEEDS])
    ]
    absent = {
        name for label, name in enumerate(index.classes) for split in splits if label not in index.labels[split.test]
    }
    return {
        "test_images": spread([len(split.test) for split in splits]),
        "classes_absent_from_test": sorted(absent),
        "identical_in_training": spread([shared(split, copies.pixels) for split in splits]),
        "copies_in_training": spread([shared(split, copies.groups) for split in splits]),
        "run_in_training": spread([shared(split, surveyed.runs) for split in splits]),
        "nearest_neighbour": spread([
            nearest_neighbour_accuracy(surveyed.facts.thumbnails, index.labels, split.train, split.test)
            for split in splits
        ]),
        "shortcuts": {name: spread([row[name] for row in shortcuts]) for name in shortcuts[0]} if features else None,
    }  # fmt: skip


def spread(values: Sequence[float | None]) -> dict[str, float]:
    """Return mean and standard deviation of values, as n - 1 has it; 0 for a single one.

    >>> spread([1, 2, 3])
    {'mean': 2.0, 'sd': 1.0}
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    return {"mean": float(known.mean()), "sd": float(known.std(ddof=1)) if len(known) > 1 else 0.0}


def possible_splits(index: Index) -> list[str]:
    """Return the names of the splits that an audit measures: without k-fold, official ones where there are parts."""
    official = "test" in index.parts
    return [name for name in SPLITS if name != "kfold" and (official or not name.startswith("official"))]


def shown_pairs(surveyed: Surveyed, count: int) -> tuple[list[Pair], list[Pair]]:
    """Return the near copies that agree least, and the pairs that agree most without being copies, `count` each."""
    copies = sorted(surveyed.copies.pairs, key=lambda pair: pair.detail)[:count]
    return copies, sorted(surveyed.copies.looser, key=lambda pair: -pair.detail)[:count]
