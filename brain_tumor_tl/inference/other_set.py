"""OtherSet: a data set that a run wasn't made with, under the run's classes, and which of its images the run knows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.cache import CacheEntry
from brain_tumor_tl.data.images import load_images
from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.intensity import uses_own_window
from brain_tumor_tl.data.layout import class_aliases, named_classes, plain, printable
from brain_tumor_tl.data.leakage.copies import KINDS, find_copies
from brain_tumor_tl.data.leakage.file_info import FileInfo, load_file_info
from brain_tumor_tl.data.leakage.overlap import Shared, pairs_between, shared_images
from brain_tumor_tl.data.leakage.relations import Relations, nearest_neighbour_accuracy
from brain_tumor_tl.data.leakage.search import TURNS
from brain_tumor_tl.data.patients import AUTO, Patients
from brain_tumor_tl.data.splits.groups import Indices
from brain_tumor_tl.data.table import apply_tables, read_table
from brain_tumor_tl.inference.run_images import RunImages
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.reporting.evaluations import SEEN_COLUMNS

NO_CLASS = "of no class of the run"
SPLITS = ("train", "val", "test", "left_out")  # an image with copies in several counts for the first of them
USED = SPLITS[:2]  # whose images the weights, their epoch and the temperature depend on


@dataclass(frozen=True)
class Source:
    """Where images are and how to read them, as the keys of `data` say.

    Attributes:
        root: Folder of the images; None for where the run had them.
        labels: CSV file whose labels replace those of the folders.
        classes: Further names of the run's classes, each list with one of the run's own names; None for none.
        patients: CSV file with the images' patients, "auto" for whatever is known, None for none.
        merge_scans: Whether patients whose names differ only in one last letter are one.
        on_bad_file: "error", or "skip" to leave out unreadable files.
        slices: Which slices of volumes are images, as `data.slices`; None for those that the run took.
    """

    root: Path | None = None
    labels: Path | None = None
    classes: Sequence[Any] | None = None
    patients: str | Path | None = AUTO
    merge_scans: bool = False
    on_bad_file: str = "error"
    slices: str | None = None


@dataclass(frozen=True, eq=False)
class OtherSet:
    """Another data set.

    Attributes:
        info: Its files and their index, with labels that are positions in the run's classes.
        decoded: Their pixels as the run wants them, uint8 `(N, C, size, size)`.
        patients: Its patients, None if none is known.
        unknown: Images left out for each label that is of no class of the run, "" for images without a label.
    """

    info: FileInfo
    decoded: CacheEntry
    patients: Patients | None
    unknown: Mapping[str, int]

    @property
    def index(self) -> Index:
        """Its images."""
        return self.info.index

    def units(self, cache_dir: Path) -> tuple[Indices, str]:
        """Return the group of each image, of copies and of patients where they are known, and what the groups hold."""
        copies = find_copies(self.info, cache_dir).groups
        patients = None if self.patients is None else self.patients.numbers
        groups = Relations(self.index.paths, copies=copies, patients=patients).known_groups("grouped")
        assert groups is not None, "the copies are known"
        return groups, "group" if patients is None else "patient"


def read_other_set(run: TrainedRun, root: Path, source: Source, cache_dir: Path) -> OtherSet:
    """Read another data set under a run's classes; folders and labels of other classes are left out.

    Args:
        run: The run.
        root: Folder of the images.
        source: How to read them.
        cache_dir: Folder of the cache.

    Raises:
        FileNotFoundError: There is no such folder or table.
        ValueError: The layout is unknown, or a file can't be read, or no image is of a class of the run.
    """
    classes = with_aliases(run.results["config"]["data"]["classes"], root, source.classes)
    slices = source.slices or run.slices
    found = read_index(root, classes, by_table=source.labels is not None, every_class=False, slices=slices)
    found, unknown, patients = labelled(found, classes, source)
    index, known = apply_tables(found, classes, None, patients, source.merge_scans)
    index = replace(index, bad=tuple(each for each in index.bad if each[1] != NO_CLASS))
    if not len(index):
        raise ValueError(
            f"Expected images of {', '.join(run.classes)} in {root}, found none. Give names that the set has for "
            "them, such as data.classes=[[glioma_tumor,GBM]]."
        )
    intensity = run.preprocessing.intensity
    size = run.preprocessing.image_size
    decoded, usable = load_images(index, size, cache_dir, source.on_bad_file, intensity, every_class=False)
    if known is not None and len(usable) < len(index):
        names = set(usable.paths)
        kept = np.array([path in names for path in index.paths])
        known = replace(known, numbers=known.numbers[kept])
    info = load_file_info(usable, cache_dir, intensity["window"], uses_own_window(intensity["rule"]))
    return OtherSet(replace(info, index=usable), decoded, known, unknown)


def with_aliases(classes: Sequence[Sequence[str]], root: Path, further: Sequence[Any] | None) -> list[list[str]]:
    """Return the names of a run's classes with further ones.

    Args:
        classes: Each class's names.
        root: The other set's folder.
        further: Lists of names, each with one name of a class of the run; None for none.

    Raises:
        ValueError: A list of names has none, or several, of the run's classes.
    """
    found, aliases = [list(names) for names in classes], class_aliases(classes)
    for names in named_classes(further, root) if further is not None else ():
        labels = {aliases[plain(name)] for name in names if plain(name) in aliases}
        if len(labels) != 1:
            raise ValueError(
                f"Expected one class of the run in each list of `data.classes`, got [{','.join(names)}]. The run's "
                f"classes are {', '.join(known[0] for known in classes)}; data.classes=[[{classes[0][0]},NAME]] says "
                "that the set calls the first of them NAME."
            )
        found[labels.pop()] += names
    return found


def labelled(
    index: Index, classes: Sequence[Sequence[str]], source: Source
) -> tuple[Index, Mapping[str, int], str | Path | None]:
    """Return an index with the labels of a table, without images of no known class; how many these are; the patients.

    Args:
        index: The images, with the labels of their folders, -1 for none.
        classes: Each class's names.
        source: Says which table.

    Returns:
        The index, the number of images left out for each unknown label, and where patients are known from.
    """
    if source.labels is None:
        return index, {}, source.patients
    rows, aliases, labels = read_table(source.labels, index, "label"), class_aliases(classes), index.labels.copy()
    given = [rows[path]["label"] if path in rows else "" for path in index.paths]
    for position, name in enumerate(given):
        if name:
            labels[position] = aliases.get(plain(name), -1)
    unknown = Counter(given[position] for position in np.flatnonzero(labels < 0))
    bad = [(index.paths[position], NO_CLASS) for position in np.flatnonzero(labels < 0)]
    from_table = source.patients == AUTO and any("patient" in row for row in rows.values())
    return replace(index, labels=labels).without(bad), unknown, source.labels if from_table else source.patients


def known_images(run: TrainedRun, own: RunImages, other: OtherSet, cache_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of `seen.csv`: the images of another set that have a copy among a run's, each once.

    Args:
        run: The run.
        own: Its images.
        other: The other set.
        cache_dir: Folder of the cache.
    """
    ours, theirs = own.file_info(cache_dir), other.info
    pairs, found = pairs_between(ours, theirs, cache_dir), dict[int, dict[str, Any]]()
    for split in SPLITS:
        for image in shared_images(ours, theirs, pairs, own.of(split)):
            found.setdefault(image.second, row_of(image, run.name, split, ours.index, theirs.index))
    return [found[position] for position in sorted(found)]


def row_of(image: Shared, run: str, split: str, ours: Index, theirs: Index) -> dict[str, Any]:
    """Return a row of `seen.csv`: an image of the other set, and the run's image that it is a copy of."""
    path, copy = printable(theirs.paths[image.second]), printable(ours.paths[image.first])
    names = theirs.classes[theirs.labels[image.second]], ours.classes[ours.labels[image.first]]
    values = (path, names[0], run, split, copy, names[1], image.level, TURNS[image.turn], round(image.detail, 4))
    return dict(zip(SEEN_COLUMNS, values, strict=True))


def seen_counts(
    rows: Sequence[Mapping[str, Any]], other: OtherSet, kept: Indices, searched: bool, keep_copies: bool
) -> dict[str, Any]:
    """Return how many images of another set have a copy in which split of the runs, and of which kind.

    `patients` is the number of evaluated images whose patient, by what is known of the set, has other images that were
    seen in training or validation; None if no patient is known.

    Args:
        rows: Rows of seen.csv.
        other: The other set.
        kept: Positions of the evaluated images.
        searched: Whether copies were searched for.
        keep_copies: Whether images that were seen are evaluated.
    """
    strictest: dict[str, Mapping[str, Any]] = {}
    for row in sorted(rows, key=lambda row: (SPLITS.index(row["split"]), KINDS.index(row["level"]))):
        strictest.setdefault(row["path"], row)
    by_split = Counter(row["split"] for row in strictest.values())
    used = {path: row for path, row in strictest.items() if row["split"] in USED}
    kinds, patients = Counter(row["level"] for row in used.values()), None
    if searched and other.patients is not None:
        numbers = other.patients.numbers
        seen = numbers[[i for i, path in enumerate(other.index.paths) if printable(path) in used]]
        rest = [i for i in kept if printable(other.index.paths[i]) not in used]
        patients = int(np.isin(numbers[rest], seen[seen >= 0]).sum())
    return {
        "searched": searched,
        **{split: by_split[split] for split in SPLITS},
        "kinds": {kind: kinds[kind] for kind in KINDS},
        "other_label": sum(row["class"] != row["class_of_copy"] for row in used.values()),
        "kept": keep_copies,
        "patients": patients,
    }


def baseline(own: RunImages, other: OtherSet, kept: Indices, cache_dir: Path) -> float | None:
    """Return the accuracy of the nearest-neighbour (1-NN) baseline on some images of another set.

    Each gets the label of the most similar image of the run's training split.
    """
    ours = own.file_info(cache_dir)
    thumbnails = np.concatenate([ours.thumbnails, other.info.thumbnails])
    labels = np.concatenate([own.index.labels, other.index.labels])
    return nearest_neighbour_accuracy(thumbnails, labels, own.of("train"), kept + len(own.index))
