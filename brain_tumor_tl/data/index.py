"""Index: the images in a folder, the class and official split of each, and the files that can't be used."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.formats import EXTENSIONS, foreign_format
from brain_tumor_tl.data.layout import (
    ClassFolder,
    check_classes,
    class_aliases,
    class_folders,
    existing_root,
    files_in,
    find_base,
    has_no_class_folders,
    plain,
    printable,
)

NO_IMAGES = {"mask", "masks", "label", "labels", "annotation", "annotations"}  # folders; names as `plain` returns them
MOST_LINES, MOST_NAMES = 30, 3  # reasons that an error shows, and files for each of them


@dataclass(frozen=True, eq=False)
class Index:
    """The images of a data set, in the bytewise order of their paths.

    Attributes:
        root: The folder that `paths` are relative to.
        paths: Path of each image, with forward slashes.
        labels: Label of each image, `(N,)`, an index into `classes`.
        classes: Name of each class.
        official: Official split of each image: "train", "val", "test", or "" if the set has none.
        digests: SHA-256 of each file's bytes, as hexadecimal text.
        bad: Path of each file that can't be used, and why.
        patients: Folder of each image inside its class folder, which is taken as its patient, "" for none; empty if no
            image has one.
        left_out: Folders beside the class folders that are of no class.
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    official: tuple[str, ...]
    digests: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()
    patients: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def without(self, bad: Sequence[tuple[str, str]]) -> Index:
        """Return the index without the files named in `bad`, which are added to those named before."""
        names = {path for path, _ in bad}
        keep = [path not in names for path in self.paths]
        paths, official, digests, patients = (
            tuple(compress(column, keep)) for column in (self.paths, self.official, self.digests, self.patients)
        )
        return replace(
            self,
            paths=paths,
            labels=self.labels[np.array(keep, dtype=bool)],
            official=official,
            digests=digests,
            bad=tuple(sorted({*self.bad, *bad})),
            patients=patients,
        )

    def missing_classes(self, positions: NDArray[np.int64] | slice = slice(None)) -> list[str]:
        """Return the names of the classes without an image, among all images or those at `positions`."""
        present = set(self.labels[positions].tolist())
        return [name for label, name in enumerate(self.classes) if label not in present]

    def digest(self) -> str:
        """Return the SHA-256 of all paths, labels and contents: the data set's identity."""
        rows = zip(self.digests, self.paths, self.labels, strict=True)
        lines = (f"{digest}  {path}  {label}\n" for digest, path, label in rows)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


class BadFilesError(ValueError):
    """Files that can't be used, in one message: a line for each reason, with the first of its files."""

    def __init__(self, root: Path, bad: Sequence[tuple[str, str]]) -> None:
        self.bad = tuple(sorted(bad))
        by_reason: dict[str, list[str]] = {}
        for path, reason in self.bad:
            by_reason.setdefault(reason, []).append(path)
        lines = [f"  {shortened(paths)}: {reason}" for reason, paths in by_reason.items()]
        if len(lines) > MOST_LINES:
            lines[MOST_LINES:] = [f"  and {len(lines) - MOST_LINES} more reasons"]
        message = "\n".join([
            f"{len(self.bad)} file(s) below {root} can't be used as images:", *lines,
            "Repair, convert or remove them, or leave them out with data.on_bad_file=skip, which lists them all.",
        ])  # fmt: skip
        super().__init__(printable(message))


def shortened(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are.

    >>> shortened(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def read_index(
    root: str | Path, classes: Sequence[Sequence[str]], by_table: bool = False, every_class: bool = True
) -> Index:
    """Find the images below `root` in any of the known layouts, and compute their digests.

    The layouts are `Training|Testing/<class>/`, `train|test/<class>/` and `<class>/`, in `root` or in the only
    folder further in that has one of them. Folders inside a class folder are of patients.

    Args:
        root: The data set's folder.
        classes: Each class's name, followed by other folder names that stand for it.
        by_table: Whether a table gives the classes, so that there need be no class folders; without any, all images
            below `root` are found and have the label -1.
        every_class: Whether each class must have images; otherwise folders of no known class are left out, as those of
            another data set than the run was trained on.

    Raises:
        FileNotFoundError: `root` is not a folder.
        ValueError: The layout is not known, a folder is of no known class, a class has no images, or none has.
    """
    base, aliases = existing_root(root), class_aliases(classes)
    left_out: list[str] = []
    names = tuple(names[0] for names in classes)
    if by_table and has_no_class_folders(base, aliases):
        found = [(path, -1, "", "") for path in images_below(base)]
    else:
        base = find_base(base, aliases)
        folders, left_out = class_folders(base, aliases, names, every_class)
        check_classes(base, folders, names, every_class)
        found = [file for folder in folders for file in files_of_class(base, folder)]
    paths, labels, official, patients = zip(*sorted(found, key=lambda file: os.fsencode(file[0])), strict=True)
    with ThreadPoolExecutor() as pool:
        digests, faults = zip(*pool.map(lambda path: digest_file(base / path), paths), strict=True)
    patients = patients if any(patients) else ()
    index = Index(base, paths, np.array(labels, np.int64), names, official, digests, (), patients, tuple(left_out))
    return index.without([(path, fault) for path, fault in zip(paths, faults, strict=True) if fault])


def images_below(root: Path) -> list[str]:
    """Return the path of each file in a folder and the folders inside it that is an image by its name.

    Raises:
        ValueError: There are none.
    """
    found = [path.relative_to(root).as_posix() for path in files_in(root) if path.suffix.lower() in EXTENSIONS]
    if not found:
        raise ValueError(printable(f"Expected images in {root}, found none that ends in {' '.join(EXTENSIONS)}."))
    return found


def files_of_class(base: Path, folder: ClassFolder) -> list[tuple[str, int, str, str]]:
    """Return path, label, official split and patient of each file in a class folder.

    The folder inside it that a file is in is its patient, unless all files are in a single one.
    """
    files = [path.relative_to(folder.path) for path in files_in(folder.path)]
    inner = [path.parts[0] if len(path.parts) > 1 else "" for path in files]
    patients = inner if len(set(inner)) > 1 else [""] * len(files)
    place = folder.path.relative_to(base)
    return [
        ((place / path).as_posix(), folder.label, folder.official, patient)
        for path, patient in zip(files, patients, strict=True)
    ]


def digest_file(path: Path) -> tuple[str, str]:
    """Return a file's SHA-256 and an empty string, or an empty string and why it can't be used."""
    try:
        if fault := fault_of(path):
            return "", fault
        content = path.read_bytes()
    except OSError as error:
        return "", f"can't be read: {error.strerror or error}"
    return (hashlib.sha256(content).hexdigest(), "") if content else ("", "empty, 0 bytes")


def fault_of(path: Path) -> str:
    """Return what is wrong with a file, judging by its name and kind, or an empty string.

    Raises:
        OSError: The file can't be read.
    """
    if path.is_symlink() and not path.exists():
        return f"a broken link to {path.readlink()}"
    if path.is_dir():
        return "a link to a folder inside a class folder"
    if not path.is_file():
        return "not a regular file"
    if plain(path.parent.name) in NO_IMAGES:
        return f"in a folder {path.parent.name}, so no image of its own"
    if path.suffix.lower() not in EXTENSIONS:
        return foreign_format(path) or f"not an image by its name; expected {' '.join(EXTENSIONS)}"
    return ""
