"""Index: the images in a folder, the class and official split of each, and the files that can't be used."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
SPLIT_FOLDERS = {
    "training": "train", "train": "train",
    "validation": "val", "valid": "val", "val": "val",
    "testing": "test", "test": "test",
}  # fmt: skip
CLUTTER = {"thumbs.db", "desktop.ini", "_macosx"}  # left by operating systems; names as `plain` returns them


@dataclass(frozen=True)
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
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    official: tuple[str, ...]
    digests: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def without(self, bad: Sequence[tuple[str, str]]) -> Index:
        """Return the index without the files named in `bad`, which are added to those named before."""
        names = {path for path, _ in bad}
        keep = [path not in names for path in self.paths]
        paths, official, digests = (
            tuple(compress(column, keep)) for column in (self.paths, self.official, self.digests)
        )
        labels, named = self.labels[np.array(keep, dtype=bool)], tuple(sorted({*self.bad, *bad}))
        return replace(self, paths=paths, labels=labels, official=official, digests=digests, bad=named)

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
    """Files that can't be used, all named in one message."""

    def __init__(self, root: Path, bad: Sequence[tuple[str, str]]) -> None:
        self.bad = tuple(sorted(bad))
        lines = "\n".join(f"  {path}: {reason}" for path, reason in self.bad)
        message = (
            f"{len(self.bad)} file(s) below {root} can't be used as images:\n{lines}\n"
            "Repair or remove them, or leave them out with data.on_bad_file=skip."
        )
        super().__init__(printable(message))


class ClassFolder(NamedTuple):
    """A folder of one class: its path, label and official split, "" for none."""

    path: Path
    label: int
    official: str


def printable(text: str) -> str:
    r"""Return a text that may contain paths as one that any terminal and any file can hold.

    >>> print(printable("g\udcfc (1).jpg"))  # a name whose bytes are not UTF-8
    g\udcfc (1).jpg
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_index(root: str | Path, classes: Sequence[Sequence[str]]) -> Index:
    """Find the images below `root` in any of the known layouts, and compute their digests.

    The layouts are `Training|Testing/<class>/`, `train|test/<class>/` and `<class>/`, in `root` or in the only
    folder inside it that has one of them.

    Args:
        root: The data set's folder.
        classes: Each class's name, followed by other folder names that stand for it.

    Raises:
        FileNotFoundError: `root` is not a folder.
        ValueError: The layout is not known, a folder is of no known class, or a class has no images.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        there = "a file" if root.exists() else "nothing"
        message = (
            f"Expected a folder of images at {root}, found {there}. Give data.root=PATH of a folder that "
            "holds Training/ and Testing/ or the class folders, or data=phantom for synthetic images."
        )
        raise FileNotFoundError(printable(message))
    aliases = class_aliases(classes)
    base = find_base(root, aliases)
    folders = class_folders(base, aliases)
    found = [(path.relative_to(base).as_posix(), folder) for folder in folders for path in contents(folder.path)]
    found.sort(key=lambda file: os.fsencode(file[0]))
    names = tuple(names[0] for names in classes)
    check_classes(base, folders, names)
    paths = tuple(path for path, _ in found)
    with ThreadPoolExecutor() as pool:
        digests, faults = zip(*pool.map(lambda path: digest_file(base / path), paths), strict=True)
    labels = np.array([folder.label for _, folder in found], dtype=np.int64)
    index = Index(base, paths, labels, names, tuple(folder.official for _, folder in found), digests)
    return index.without([(path, fault) for path, fault in zip(paths, faults, strict=True) if fault])


def plain(name: str) -> str:
    """Return a folder's name without what does not distinguish it: case, and the kind of gap between words."""
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def class_aliases(classes: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the label for each folder name.

    Raises:
        ValueError: There are fewer than two classes, a name stands for two of them, or a class has no name.
    """
    if len(classes) < 2:
        raise ValueError(
            f"Expected at least two classes, got {len(classes)}. "
            "Name them in data.classes, such as [[no_tumor, no],[tumor, yes]]."
        )
    aliases: dict[str, int] = {}
    for label, names in enumerate(classes):
        if not names:
            raise ValueError(f"Expected a name for each of `data.classes`, got none for label {label}.")
        for name in names:
            if aliases.setdefault(plain(name), label) != label:
                raise ValueError(f"Expected each name in `data.classes` once, got {name!r} for two classes.")
    return aliases


def is_clutter(path: Path) -> bool:
    """Tell whether a file or folder is hidden or an operating system's own."""
    return path.name.startswith(".") or plain(path.name) in CLUTTER


def contents(folder: Path) -> list[Path]:
    """Return what a folder contains, sorted by name, without clutter."""
    return sorted(path for path in folder.iterdir() if not is_clutter(path))


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name, without clutter."""
    return [path for path in contents(folder) if path.is_dir()]


def split_folders(folder: Path) -> list[Path]:
    """Return the folders of official splits in a folder."""
    return [path for path in subfolders(folder) if plain(path.name) in SPLIT_FOLDERS]


def find_base(root: Path, aliases: dict[str, int]) -> Path:
    """Return the folder that holds the official splits or classes: `root`, or the one folder inside it that does.

    A folder with known classes takes precedence over one with split folders only, such as BRISC's
    `segmentation_task`.

    Raises:
        ValueError: No folder does, or several do.
    """

    def has_classes(folder: Path) -> bool:
        holders = [folder, *split_folders(folder)]
        return any(plain(inner.name) in aliases for holder in holders for inner in subfolders(holder))

    if split_folders(root) or has_classes(root):
        return root
    for fits in (has_classes, split_folders):
        inside = [folder for folder in subfolders(root) if fits(folder)]
        if len(inside) == 1:
            return inside[0]
    found = ", ".join(folder.name for folder in subfolders(root)[:8]) or "no folder"
    message = (
        f"Expected Training/ and Testing/, train/ and test/, or class folders in {root}, found {found}. "
        f"Class folders may be named {', '.join(sorted(aliases))}. "
        "Give data.root=PATH of the folder that holds them, or name your classes in data.classes."
    )
    raise ValueError(printable(message))


def class_folders(base: Path, aliases: dict[str, int]) -> list[ClassFolder]:
    """Return the class folders of a data set.

    Raises:
        ValueError: A folder is of no known class, or class folders stand beside the folders of official splits.
    """
    splits = split_folders(base)
    holders = [(folder, SPLIT_FOLDERS[plain(folder.name)]) for folder in splits] or [(base, "")]
    inner = [(folder, official) for holder, official in holders for folder in subfolders(holder)]
    unknown = [folder.relative_to(base).as_posix() for folder, _ in inner if plain(folder.name) not in aliases]
    if unknown:
        message = (
            f"{len(unknown)} folder(s) in {base} are of no known class: {', '.join(unknown)}. Known names "
            f"are {', '.join(sorted(aliases))}. Move the folders away, or name your own classes in "
            "data.classes (data=br35h has `yes` and `no`)."
        )
        raise ValueError(printable(message))
    beside = [folder.name for folder in subfolders(base) if splits and plain(folder.name) in aliases]
    if beside:
        raise ValueError(
            f"Expected every class folder of {base} inside {' or '.join(folder.name for folder in splits)}, found "
            f"{', '.join(beside)} beside them. Move it there or away."
        )
    return [ClassFolder(folder, aliases[plain(folder.name)], official) for folder, official in inner]


def check_classes(base: Path, folders: Sequence[ClassFolder], names: Sequence[str]) -> None:
    """Raise a ValueError if a class has no folder or a class folder has no files."""
    empty = [folder.path.relative_to(base).as_posix() for folder in folders if not contents(folder.path)]
    if empty:
        raise ValueError(
            f"Expected images in every class folder of {base}, found none in {', '.join(empty)}. Fill or remove them."
        )
    missing = [name for label, name in enumerate(names) if label not in {folder.label for folder in folders}]
    if missing:
        raise ValueError(
            f"Expected a folder for each of the {len(names)} classes in {base}, found none for "
            f"{', '.join(missing)}. Add it, or list only the classes that you have in data.classes."
        )


def digest_file(path: Path) -> tuple[str, str]:
    """Return a file's SHA-256 and an empty string, or an empty string and why it can't be used."""
    if fault := fault_of(path):
        return "", fault
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", f"can't be read: {error.strerror or error}"
    return (hashlib.sha256(content).hexdigest(), "") if content else ("", "empty, 0 bytes")


def fault_of(path: Path) -> str:
    """Return what is wrong with a file, judging by its name and kind, or an empty string."""
    if path.is_symlink() and not path.exists():
        return f"a broken link to {path.readlink()}"
    if path.is_dir():
        return "a folder inside a class folder"
    if not path.is_file():
        return "not a regular file"
    if path.suffix.lower() not in EXTENSIONS:
        return f"not an image by its name; expected {' '.join(EXTENSIONS)}"
    return ""
