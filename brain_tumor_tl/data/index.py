"""Index: the images in a folder, the class and official split of each, and the files that can't be used."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.data.contents import chosen_of_series, digest_of_picture, examine, names_in, patients_of
from brain_tumor_tl.data.formats import EXTENSIONS, format_of, has_image_name
from brain_tumor_tl.data.layout import (
    ClassFolder,
    check_classes,
    class_aliases,
    class_folders,
    existing_root,
    files_in,
    find_base,
    has_no_class_folders,
    printable,
)
from brain_tumor_tl.data.volumes import ALL

MOST_LINES, MOST_NAMES = 30, 3  # reasons that an error shows, and files for each of them


class ImageFile(NamedTuple):
    """A file of a data set: its path, label and official split, and the folder that is taken as its patient."""

    path: str
    label: int
    official: str = ""
    patient: str = ""


@dataclass(frozen=True, eq=False)
class Index:
    """The images of a data set, in the bytewise order of their paths.

    Attributes:
        root: The folder that `paths` are relative to.
        paths: Path of each image, with forward slashes; `scan.nii.gz#012` for one of a file's pictures.
        labels: Label of each image, `(N,)`, an index into `classes`.
        classes: Name of each class.
        official: Official split of each image: "train", "val", "test", or "" if the set has none.
        digests: SHA-256 of each file's bytes, as hexadecimal text; of one of a file's pictures, of that and its number.
        bad: Path of each file that can't be used, and why.
        patients: Patient of each image by the data set itself, "" if it is not known; empty if none is known.
        patients_from: Where these are from, in words.
        left_out: Folders beside the class folders that are of no class.
        not_chosen: DICOM files of a series that `data.slices` doesn't choose.
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    official: tuple[str, ...]
    digests: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()
    patients: tuple[str, ...] = ()
    patients_from: str = ""
    left_out: tuple[str, ...] = ()
    not_chosen: tuple[str, ...] = ()

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
    root: str | Path,
    classes: Sequence[Sequence[str]],
    by_table: bool = False,
    every_class: bool = True,
    slices: str = ALL,
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
        slices: Which slices of a NIfTI volume, a multi-frame DICOM file or a DICOM series are images; see
            `chosen_slices`.

    Raises:
        FileNotFoundError: `root` is not a folder.
        ValueError: The layout is not known, a folder is of no known class, a class has no images, or none has.
    """
    base, aliases = existing_root(root), class_aliases(classes)
    left_out: list[str] = []
    names = tuple(names[0] for names in classes)
    if by_table and has_no_class_folders(base, aliases):
        found = [ImageFile(path, -1) for path in images_below(base)]
    else:
        base = find_base(base, aliases)
        folders, left_out = class_folders(base, aliases, names, every_class)
        check_classes(base, folders, names, every_class)
        found = [file for folder in folders for file in files_of_class(base, folder)]
    return indexed(base, found, slices, names, tuple(left_out))


def indexed(
    base: Path, files: Sequence[ImageFile], slices: str, classes: tuple[str, ...], left_out: tuple[str, ...]
) -> Index:
    """Return the index of the pictures in some files.

    Args:
        base: The folder that their paths are relative to.
        files: The files.
        slices: Which pictures of a file, or files of a DICOM series, are images; see `chosen_slices`.
        classes: Name of each class.
        left_out: Folders beside the class folders that are of no class.
    """
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(lambda file: examine(base / file.path), files))
    rows, bad, not_chosen = [], [], []
    for file, content, reason in zip(files, contents, chosen_of_series(contents, slices), strict=True):
        if reason == "":
            not_chosen.append(file.path)
            continue
        names, fault = names_in(file.path, content, slices)
        rows += [(name, file, content) for name in names]
        if why := fault or reason:
            bad.append((file.path, why))
    rows.sort(key=lambda row: os.fsencode(row[0]))
    paths, of_file, of_content = zip(*rows, strict=True)
    patients, source = patients_of(paths, [file.patient for file in of_file], of_content)
    index = Index(
        base,
        paths,
        np.array([file.label for file in of_file], np.int64),
        classes,
        tuple(file.official for file in of_file),
        tuple(digest_of_picture(name, content.digest) for name, _, content in rows),
        patients=patients,
        patients_from=source,
        left_out=left_out,
        not_chosen=tuple(not_chosen),
    )
    return index.without(bad)


def images_below(root: Path) -> list[str]:
    """Return the path of each file in a folder and the folders inside it that is an image by its name.

    Raises:
        ValueError: There are none.
    """
    found = [path.relative_to(root).as_posix() for path in files_in(root) if is_image_file(path)]
    if not found:
        raise ValueError(printable(f"Expected images in {root}, found none that ends in {' '.join(EXTENSIONS)}."))
    return found


def is_image_file(path: Path) -> bool:
    """Tell whether a file is an image by its name, or DICOM by its content."""
    if has_image_name(path):
        return True
    with contextlib.suppress(OSError):  # it is not known to be an image
        return path.is_file() and bool(format_of(path))
    return False


def files_of_class(base: Path, folder: ClassFolder) -> list[ImageFile]:
    """Return each file in a class folder.

    The folder inside it that a file is in is its patient, unless all files are in a single one.
    """
    files = [path.relative_to(folder.path) for path in files_in(folder.path)]
    inner = [path.parts[0] if len(path.parts) > 1 else "" for path in files]
    patients = inner if len(set(inner)) > 1 else [""] * len(files)
    place = folder.path.relative_to(base)
    return [
        ImageFile((place / path).as_posix(), folder.label, folder.official, patient)
        for path, patient in zip(files, patients, strict=True)
    ]
