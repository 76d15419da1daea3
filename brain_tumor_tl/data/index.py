"""Index: which images a folder holds, of which class, in which official part; and what is wrong with it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
PARTS = {
    "training": "train", "train": "train",
    "validation": "val", "valid": "val", "val": "val",
    "testing": "test", "test": "test",
}  # fmt: skip
NOT_OURS = {"thumbs.db", "desktop.ini", "_macosx"}  # left by operating systems; as `plain` has them


@dataclass(frozen=True)
class Index:
    """The images of a data set, in the bytewise order of their paths.

    Attributes:
        root: The folder that `paths` are relative to.
        paths: Path of each image, with forward slashes.
        labels: Label of each image, `(N,)`, an index into `classes`.
        classes: Name of each class.
        parts: Official part of each image: "train", "val", "test" or "" where the set has no parts.
        digests: SHA-256 of each file's bytes, as hexadecimal text.
        bad: Path and reason of each file that can't be used.
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    parts: tuple[str, ...]
    digests: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.paths)

    def without(self, bad: Sequence[tuple[str, str]]) -> Index:
        """Return the index less the files named in `bad`, which join those already named."""
        names = {path for path, _ in bad}
        keep = [i for i, path in enumerate(self.paths) if path not in names]
        return Index(
            self.root,
            tuple(self.paths[i] for i in keep),
            self.labels[keep],
            self.classes,
            tuple(self.parts[i] for i in keep),
            tuple(self.digests[i] for i in keep),
            tuple(sorted({*self.bad, *bad})),
        )

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


def printable(text: str) -> str:
    r"""Return a text with paths in it as one that any terminal and any file can hold.

    >>> print(printable("g\udcfc (1).jpg"))  # a name whose bytes are not UTF-8
    g\udcfc (1).jpg
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_index(root: str | Path, classes: Sequence[Sequence[str]]) -> Index:
    """Find the images below `root`, whatever of the known layouts it has, and digest their contents.

    The layouts are `Training|Testing/<class>/`, `train|test/<class>/` and `<class>/`, also when the folder
    that holds them is the only such folder inside `root`.

    Args:
        root: The data set's folder.
        classes: Each class's name, followed by other folder names that stand for it.

    Raises:
        FileNotFoundError: `root` is no folder.
        ValueError: No layout is recognised, a folder is of no known class, or a class has no images.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        came = "a file" if root.exists() else "nothing"
        message = (
            f"Expected a folder of images at {root}, found {came}. Give data.root=PATH of a folder that "
            "holds Training/ and Testing/ or the class folders, or data=phantom for synthetic images."
        )
        raise FileNotFoundError(printable(message))
    aliases = class_aliases(classes)
    base = find_base(root, aliases)
    folders = class_folders(base, aliases)
    entries = sorted(
        (entry for part, label, folder in folders for entry in list_files(base, folder, part, label)),
        key=lambda entry: entry[0].encode("utf-8", "surrogateescape"),
    )
    refuse_empty_classes(base, folders, entries, [names[0] for names in classes])
    with ThreadPoolExecutor() as pool:
        checked = list(pool.map(lambda entry: digest_file(base / entry[0], entry[3]), entries))
    good = [i for i, (_, reason) in enumerate(checked) if not reason]
    bad = tuple((entries[i][0], reason) for i, (_, reason) in enumerate(checked) if reason)
    return Index(
        base,
        tuple(entries[i][0] for i in good),
        np.array([entries[i][2] for i in good], dtype=np.int64),
        tuple(names[0] for names in classes),
        tuple(entries[i][1] for i in good),
        tuple(checked[i][0] for i in good),
        bad,
    )


def plain(name: str) -> str:
    """Return a folder's name less what does not count: case, and the kind of gap between words."""
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def class_aliases(classes: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the label for each folder name.

    Raises:
        ValueError: There are less than two classes, a name stands for two, or a class has no name.
    """
    if len(classes) < 2:
        raise ValueError(
            f"Expected at least two classes to tell apart, got {len(classes)}. "
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


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, less hidden ones and an operating system's own, in order of name."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_clutter(path))


def is_clutter(path: Path) -> bool:
    """Tell whether a file or folder is hidden or an operating system's own."""
    return path.name.startswith(".") or plain(path.name) in NOT_OURS


def find_base(root: Path, aliases: dict[str, int]) -> Path:
    """Return the folder that holds the parts or classes: `root`, or the one folder inside that does.

    A folder with known classes goes before one with mere parts, such as BRISC's `segmentation_task`.

    Raises:
        ValueError: No folder does, or several do.
    """

    def has_parts(folder: Path) -> bool:
        return any(plain(f.name) in PARTS for f in subfolders(folder))

    def has_classes(folder: Path) -> bool:
        holders = [folder, *(f for f in subfolders(folder) if plain(f.name) in PARTS)]
        return any(plain(f.name) in aliases for holder in holders for f in subfolders(holder))

    if has_parts(root) or has_classes(root):
        return root
    for fits in (has_classes, has_parts):
        inside = [folder for folder in subfolders(root) if fits(folder)]
        if len(inside) == 1:
            return inside[0]
    seen = ", ".join(f.name for f in subfolders(root)[:8]) or "no folder"
    message = (
        f"Expected Training/ and Testing/, train/ and test/, or class folders in {root}, found {seen}. "
        f"Class folders may be named {', '.join(sorted(aliases))}. "
        "Give data.root=PATH of the folder that holds them, or name your classes in data.classes."
    )
    raise ValueError(printable(message))


def class_folders(base: Path, aliases: dict[str, int]) -> list[tuple[str, int, Path]]:
    """Return part, label and path of each class folder.

    Raises:
        ValueError: A folder in a part is of no known class, or class folders stand beside parts.
    """
    parts = [folder for folder in subfolders(base) if plain(folder.name) in PARTS]
    holders = [(PARTS[plain(folder.name)], folder) for folder in parts] or [("", base)]
    found, unknown = [], []
    for part, holder in holders:
        for folder in subfolders(holder):
            label = aliases.get(plain(folder.name))
            if label is None:
                unknown.append(folder.relative_to(base).as_posix())
            else:
                found.append((part, label, folder))
    if unknown:
        message = (
            f"{len(unknown)} folder(s) in {base} are of no known class: {', '.join(unknown)}. Known names "
            f"are {', '.join(sorted(aliases))}. Move the folders away, or name your own classes in "
            "data.classes (data=br35h has `yes` and `no`)."
        )
        raise ValueError(printable(message))
    beside = [f.name for f in subfolders(base) if plain(f.name) in aliases] if parts else []
    if beside:
        raise ValueError(
            f"Expected every class folder of {base} inside {' or '.join(f.name for f in parts)}, found "
            f"{', '.join(beside)} beside. Move them into a part or away."
        )
    return found


def list_files(base: Path, folder: Path, part: str, label: int) -> list[tuple[str, str, int, str]]:
    """Return relative path, part, label and outward fault, if any, of each file in a class folder."""
    entries = []
    for path in folder.iterdir():
        if is_clutter(path):
            continue
        relative = path.relative_to(base).as_posix()
        entries.append((relative, part, label, outward_fault(path)))
    return entries


def outward_fault(path: Path) -> str:
    """Return what is wrong with a file as far as its name and kind tell, or an empty string."""
    if path.is_symlink() and not path.exists():
        return f"a broken link to {path.readlink()}"
    if path.is_dir():
        return "a folder inside a class folder"
    if not path.is_file():
        return "not a regular file"
    if path.suffix.lower() not in EXTENSIONS:
        return f"not an image by its name; expected {' '.join(EXTENSIONS)}"
    return ""


def digest_file(path: Path, fault: str) -> tuple[str, str]:
    """Return the SHA-256 of a file and what is wrong with it, given what is already known to be."""
    if fault:
        return "", fault
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", f"can't be read: {error.strerror or error}"
    if not content:
        return "", "empty, 0 bytes"
    return hashlib.sha256(content).hexdigest(), ""


def refuse_empty_classes(
    base: Path,
    folders: list[tuple[str, int, Path]],
    entries: list[tuple[str, str, int, str]],
    names: list[str],
) -> None:
    """Raise a ValueError where a class has no folder or a class folder has no files."""
    held = {Path(entry[0]).parent for entry in entries}
    empty = [f.relative_to(base).as_posix() for _, _, f in folders if f.relative_to(base) not in held]
    absent = [name for label, name in enumerate(names) if label not in {label for _, label, _ in folders}]
    if empty:
        raise ValueError(
            f"Expected images in every class folder of {base}, these are empty: {', '.join(empty)}. "
            "Fill or remove them."
        )
    if absent:
        raise ValueError(
            f"Expected a folder for each of the {len(names)} classes in {base}, found none for "
            f"{', '.join(absent)}. Add it, or list only the classes that you have in data.classes."
        )
