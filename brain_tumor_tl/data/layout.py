"""Layout: where the class folders of a data set are, and which class each one is of."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from brain_tumor_tl.names import nearest

SPLIT_FOLDERS = {
    "training": "train", "train": "train",
    "validation": "val", "valid": "val", "val": "val",
    "testing": "test", "test": "test",
}  # fmt: skip
# Left by operating systems and programs; names as `plain` returns them.
CLUTTER = {
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon", "_macosx", "@eadir",
    "$recycle.bin", "system_volume_information", "dicomdir",
}  # fmt: skip
DEEPEST = 4  # folders one inside the other in which the classes are looked for
MOST_FOLDERS = 1000  # side by side


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


def plain(name: str) -> str:
    """Return a folder's name without what does not distinguish it: case, and the kind of gap between words."""
    return re.sub(r"[\s_-]+", "_", name.strip()).casefold()


def is_clutter(path: Path) -> bool:
    """Tell whether a file or folder is hidden or left by an operating system."""
    return path.name.startswith(".") or plain(path.name) in CLUTTER


def contents(folder: Path) -> list[Path]:
    """Return what a folder contains, sorted by name, without clutter."""
    return sorted(path for path in folder.iterdir() if not is_clutter(path))


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name, without clutter."""
    return [path for path in contents(folder) if path.is_dir()]


def files_in(folder: Path) -> list[Path]:
    """Return the files in a folder and the folders inside it, without clutter; a link to a folder is not followed."""
    found = []
    for path in contents(folder):
        found += files_in(path) if path.is_dir() and not path.is_symlink() else [path]
    return found


def has_no_class_folders(root: Path, aliases: Container[str]) -> bool:
    """Tell whether no folder below `root` is of a class or an official split, so that a table must name the classes."""
    folders = (inner for level in levels_below(root) for folder in level for inner in subfolders(folder))
    return not any(plain(folder.name) in aliases or plain(folder.name) in SPLIT_FOLDERS for folder in folders)


def split_folders(folder: Path) -> list[Path]:
    """Return the folders of official splits in a folder, of a doubled one (`Training/Training/`) the inner one."""
    return [undoubled(path) for path in subfolders(folder) if plain(path.name) in SPLIT_FOLDERS]


def undoubled(folder: Path) -> Path:
    """Return a folder, or the one inside it if that is its only one and has its name, as unpacked archives have."""
    inner = subfolders(folder)
    return undoubled(inner[0]) if len(inner) == 1 and plain(inner[0].name) == plain(folder.name) else folder


def existing_root(root: str | Path) -> Path:
    """Return the folder of a data set, `~` expanded.

    Raises:
        FileNotFoundError: There is none.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        there = "a file" if root.exists() else "nothing"
        message = (
            f"Expected a folder of images at {root}, found {there}. Give data.root=PATH of a folder that "
            "holds Training/ and Testing/ or the class folders, or data=phantom for synthetic images."
        )
        raise FileNotFoundError(printable(message))
    return root


def named_classes(classes: Sequence[Any] | None, root: str | Path) -> list[list[str]]:
    """Return each class's name, followed by other folder names that stand for it.

    Args:
        classes: For each class its name, or a list of its name and others; None for the names of the folders.
        root: The data set's folder.

    Raises:
        FileNotFoundError: There are no classes and no `root`.
        ValueError: A name is no text, or there are no classes and no class folders.
    """
    if classes is None:
        names = folder_names(root)
        if len(names) < 2:
            message = (
                f"Expected a folder for each class below {root}, found {', '.join(names) or 'none'}. Give "
                "data.root=PATH of the folder that holds at least two class folders."
            )
            raise ValueError(printable(message))
        return [[name] for name in names]
    named = [[each] if isinstance(each, str | int | float) else list(each or ()) for each in classes]
    for name in (name for names in named for name in names):
        if isinstance(name, bool):
            raise ValueError(
                f"Expected names in `data.classes`, got {name}: YAML takes an unquoted no, off or false for false, and "
                'yes, on or true for true. Put the name in quotes, such as "no".'
            )
        if not isinstance(name, str | int):
            raise ValueError(f"Expected names in `data.classes`, got {name!r}. Give names such as [cat,dog].")
    return [[str(name) for name in names] for names in named]


def folder_names(root: str | Path) -> list[str]:
    """Return the names of the class folders below `root`, in bytewise order.

    They are in `root` or in the folders of official splits; a folder around these that is the only one is skipped.

    Raises:
        FileNotFoundError: There is no `root`.
    """
    base = existing_root(root)
    for _ in range(DEEPEST):
        inner = subfolders(base)
        if len(inner) != 1 or split_folders(base) or not subfolders(inner[0]):
            break
        base = inner[0]
    found = [folder.name for holder in split_folders(base) or [base] for folder in subfolders(holder)]
    names = {plain(name): name for name in sorted(found, key=os.fsencode, reverse=True)}
    return sorted(names.values(), key=os.fsencode)


def class_aliases(classes: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the label for each folder name.

    Raises:
        ValueError: There are fewer than two classes, a name stands for two of them, or a class has no name.
    """
    if len(classes) < 2:
        raise ValueError(
            f"Expected at least two classes, got {len(classes)}. "
            "Name them in data.classes, such as [cat,dog] or [[no_tumor, no],[tumor, yes]]."
        )
    aliases: dict[str, int] = {}
    for label, names in enumerate(classes):
        if not names:
            raise ValueError(f"Expected a name for each of `data.classes`, got none for label {label}.")
        for name in names:
            if aliases.setdefault(plain(name), label) != label:
                raise ValueError(f"Expected each name in `data.classes` once, got {name!r} for two classes.")
    return aliases


def levels_below(root: Path) -> Iterator[list[Path]]:
    """Yield a folder, then the folders in it, then the folders in those, as far as it is worth looking."""
    level = [root]
    for _ in range(DEEPEST):
        yield level
        if len(level) > MOST_FOLDERS:
            return
        level = [inner for folder in level for inner in subfolders(folder)]


def find_base(root: Path, aliases: dict[str, int]) -> Path:
    """Return the folder that holds the official splits or classes: `root`, or the one folder inside it that does.

    A folder with known classes takes precedence over one with split folders only, such as BRISC's
    `segmentation_task`.

    Raises:
        ValueError: No folder does, or several do.
    """

    def has_classes(folder: Path) -> bool:
        if [plain(inner.name) in aliases and has_classes(inner) for inner in subfolders(folder)] == [True]:
            return False  # a folder around the data set that has the name of a class
        holders = [folder, *split_folders(folder)]
        return any(plain(inner.name) in aliases for holder in holders for inner in subfolders(holder))

    found: list[Path] = []
    for fits in (has_classes, split_folders):
        fitting = ([folder for folder in level if fits(folder)] for level in levels_below(root))
        found = next(filter(None, fitting), [])
        if len(found) == 1:
            return found[0]
        if found:
            break
    names = ", ".join(folder.relative_to(root).as_posix() for folder in (found or subfolders(root))[:8])
    message = (
        f"Expected Training/ and Testing/, train/ and test/, or class folders in {root}, found {names or 'no folder'}"
        f"{' with class folders in each' if found else ''}. Class folders may be named {', '.join(sorted(aliases))}. "
        "Give data.root=PATH of the folder that holds them, name your classes in data.classes, take the folders' names "
        "with data=folder, or give each image's class with data.labels=CSV."
    )
    raise ValueError(printable(message))


def class_folders(
    base: Path, aliases: dict[str, int], names: Sequence[str], every_class: bool = True
) -> tuple[list[ClassFolder], list[str]]:
    """Return the class folders of a data set, and the names of the other folders next to them.

    Args:
        base: The folder that holds them, or those of official splits.
        aliases: Label of each folder name.
        names: Name of each class.
        every_class: Whether each class must have a folder.

    Raises:
        ValueError: A folder is of no known class where a class that must have one is missing, or class folders are next
            to the folders of official splits.
    """
    splits = split_folders(base)
    holders = [(folder, SPLIT_FOLDERS[plain(folder.name)]) for folder in splits] or [(base, "")]
    folders: list[ClassFolder] = []
    left_out: list[str] = []
    unknown: list[str] = []
    for holder, official in holders:
        inner = subfolders(holder)
        known = [
            ClassFolder(path, aliases[plain(path.name)], official) for path in inner if plain(path.name) in aliases
        ]
        others = [path for path in inner if plain(path.name) not in aliases]
        complete = not every_class or {folder.label for folder in known} == set(aliases.values())
        folders += known
        (left_out if complete else unknown).extend(path.relative_to(base).as_posix() for path in others)
    if unknown:
        hint = nearest(plain(unknown[0].rpartition("/")[2]), aliases)
        missing = ", ".join(without_folder(folders, names))
        message = (
            f"{len(unknown)} folder(s) in {base} are of no known class: {', '.join(unknown)}.{hint} "
            f"{missing and f'No folder is of {missing}. '}Known names "
            f"are {', '.join(sorted(aliases))}. Move the folders away, or name your own classes in "
            "data.classes (data=br35h has `yes` and `no`, data=folder takes the folders' names)."
        )
        raise ValueError(printable(message))
    beside = [folder.name for folder in subfolders(base) if splits and plain(folder.name) in aliases]
    if beside:
        raise ValueError(
            f"Expected every class folder of {base} inside {' or '.join(folder.name for folder in splits)}, found "
            f"{', '.join(beside)} beside them. Move it there or away."
        )
    return folders, left_out


def check_classes(base: Path, folders: Sequence[ClassFolder], names: Sequence[str], every_class: bool = True) -> None:
    """Raise a ValueError if a class has no folder or no files; without `every_class`, if no class has files."""
    if not every_class and any(files_in(folder.path) for folder in folders):
        return
    empty = [folder.path.relative_to(base).as_posix() for folder in folders if not files_in(folder.path)]
    if empty:
        raise ValueError(
            f"Expected images in every class folder of {base}, found none in {', '.join(empty)}. Fill or remove them."
        )
    if missing := without_folder(folders, names):
        raise ValueError(
            f"Expected a folder for each of the {len(names)} classes in {base}, found none for "
            f"{', '.join(missing)}. Add it, or list only the classes that you have in data.classes."
        )


def without_folder(folders: Sequence[ClassFolder], names: Sequence[str]) -> list[str]:
    """Return the names of the classes without a folder."""
    present = {folder.label for folder in folders}
    return [name for label, name in enumerate(names) if label not in present]
