"""RunImages: the images that a run was trained and tested on, found again, and proved to be the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brain_tumor_tl.cache import CacheEntry
from brain_tumor_tl.data.images import load_images
from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.intensity import Intensity, uses_own_window
from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.data.leakage.file_info import FileInfo, load_file_info
from brain_tumor_tl.data.splits.groups import Indices
from brain_tumor_tl.data.table import apply_tables
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.reporting.predictions import read_split


class OtherImagesError(ValueError):
    """The images in a folder are not those of the run."""


@dataclass(frozen=True, eq=False)
class RunImages:
    """The images of a run.

    Attributes:
        index: The images, with the labels that the run had.
        decoded: Their pixels as in training, uint8 `(N, C, size, size)`.
        splits: Split of each image: "train", "val", "test" or "left_out".
    """

    index: Index
    decoded: CacheEntry
    splits: tuple[str, ...]

    def of(self, *splits: str) -> Indices:
        """Return the positions of the images of some splits, ascending."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def file_info(self, cache_dir: Path) -> FileInfo:
        """Return the properties of the files, which copies are found by."""
        found: Intensity = self.decoded.about["intensity"]
        return load_file_info(self.index, cache_dir, found["window"], uses_own_window(found["rule"]))


def open_run_images(run: TrainedRun, root: Path | None, labels: Path | None, cache_dir: Path) -> RunImages:
    """Find the images of a run, and decode them as in training, or open them from the cache.

    Args:
        run: The run.
        root: Where they are now; None for where they were.
        labels: Where the table of labels is now; None for where it was. Only a run that had one needs it.
        cache_dir: Folder of the cache.

    Raises:
        FileNotFoundError: They are no longer where they were.
        OtherImagesError: They have changed, or are others.
    """
    data = run.results["config"]["data"]
    root = root or Path(data["root"]).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(
            f"Expected the images of {run.name} where they were in training, in {root}; there is no such folder. "
            "Give data.root=PATH of where they are now."
        )
    table = labels if data["labels"] and labels else data["labels"] and Path(data["labels"]).expanduser()
    if table and not table.is_file():
        raise FileNotFoundError(
            f"Expected the labels of {run.name} in {table}, there is no such file. Give data.labels=PATH of where it "
            "is now."
        )
    index = read_index(root, data["classes"], by_table=bool(table), slices=run.slices)
    decoded, index = load_images(index, data["image_size"], cache_dir, data["on_bad_file"], data["intensity"])
    index, _ = apply_tables(index, data["classes"], table or None, None)
    rows, paths = read_split(run.folder, "split"), [printable(path) for path in index.paths]
    check_same(run, index, set(rows))
    if absent := sum(path not in rows for path in paths):
        raise ValueError(
            f"Expected the split of all {len(paths)} images in {run.folder / 'split.csv'}, it lacks {absent}. Put the "
            "file back if you have a copy, or train the run anew with force=true."
        )
    return RunImages(index, decoded, tuple(rows[path]["split"] for path in paths))


def check_same(run: TrainedRun, index: Index, known: set[str]) -> None:
    """Raise an OtherImagesError if an index is not of the images that a run had.

    Args:
        run: The run.
        index: What was found.
        known: Paths in the run's split.csv.
    """
    digest = run.results["environment"]["digests"]["data"]
    if index.digest() == digest:
        return
    paths = {printable(path) for path in index.paths}
    parts = [f"{len(known - paths)} of its {len(known)} are absent"] if known - paths else []
    parts += [f"{len(paths - known)} are new"] if paths - known else []
    raise OtherImagesError(
        f"Expected the images that {run.name} was trained and tested on in {index.root}; "
        f"{' and '.join(parts) or 'contents or labels of some have changed'}. Restore them, or give data.root=PATH of "
        "an unchanged copy."
    )


def has_same_paths(run: TrainedRun, index: Index) -> bool:
    """Tell whether a data set has all paths of a run's, so that it is probably a copy of it at another place."""
    return set(read_split(run.folder)) <= {printable(path) for path in index.paths}
