"""Table: a CSV file with labels or patients of the images."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.layout import class_aliases, folder_names, named_classes, plain, printable
from brain_tumor_tl.data.patients import AUTO, KAGGLE, Patients, make_patients, recognised_patients
from brain_tumor_tl.data.volumes import split_name
from brain_tumor_tl.names import nearest

MOST = 5  # faults that a message lists
Rows = Mapping[str, Mapping[str, str]]
Faults = Sequence[tuple[str, str]]  # in words, and the unknown name; "" if no name is unknown


def apply_tables(
    index: Index,
    classes: Sequence[Sequence[str]],
    labels: Path | None,
    patients: str | Path | None,
    merge_scans: bool = False,
) -> tuple[Index, Patients | None]:
    """Return an index with the labels of one table, and the images' patients, None if none is known.

    Args:
        index: The images.
        classes: Each class's name, followed by other names for it.
        labels: CSV file with `path`, `label` and perhaps `patient`; None to keep the folders' labels.
        patients: CSV file with `path` and `patient`; "auto" for the `patient` column of `labels` if it has one, else
            what the data set itself tells (`patients_of`), else the package's table, by the files' digests; None for
            none.
        merge_scans: Whether patients whose names differ only in one last letter are one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file doesn't fit the images.
    """
    rows: Rows = {}
    if labels is not None:
        rows = read_table(labels, index, "label")
        index = relabelled(index, rows, classes, labels)
    if patients is None:
        return index, None
    if patients == AUTO and not any("patient" in row for row in rows.values()):
        return index, make_patients(*patients_without_table(index), merge_scans)
    if patients != AUTO:
        rows = read_table(Path(patients).expanduser(), index, "patient")
    names = [rows[name]["patient"] if name in rows else "" for name in index.paths]
    return index, make_patients(names, str(labels if patients == AUTO else patients), merge_scans)


def classes_or_labels(classes: Sequence[Any] | None, root: str | Path, labels: str | Path | None) -> list[list[str]]:
    """Return what `named_classes` does; but without classes and class folders, the labels of a table, sorted.

    Raises:
        FileNotFoundError: There are no classes and no `root`, or no table.
        ValueError: The classes can't be named.
    """
    if classes is None and labels is not None and len(folder_names(root)) < 2:
        found = {row["label"] for _, row in read_lines(Path(labels).expanduser(), "label")} - {""}
        classes = [next(alike) for _, alike in groupby(sorted(found, key=lambda name: (plain(name), name)), key=plain)]
    return named_classes(classes, root)


def patients_without_table(index: Index) -> tuple[Sequence[str], str]:
    """Return the name of each image's patient, "" if it is not known, and where the names are from."""
    if any(index.patients):
        return index.patients, index.patients_from
    return recognised_patients(index), f"{KAGGLE.name} of the package, by the files' digests"


def read_table(path: Path, index: Index, column: str) -> Rows:
    """Read a CSV file with a `path` column, and return its rows by the path of the image.

    Args:
        path: The file, in UTF-8; its first line names the columns.
        index: The images, named in the file by their paths in `split.csv`.
        column: Another column that the file must have.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is missing, a path is of no image, or a path occurs twice.
    """
    known = named_images(index)
    left_out = {printable(name) for name in (*(path for path, _ in index.bad), *index.not_chosen)}
    found: dict[str, dict[str, str]] = {}
    faults = []
    for line, row in read_lines(path, column):
        given = row["path"] if row["path"] in known else row["path"].replace("\\", "/")  # as Windows writes it
        names = known.get(given, [])
        if any(name in found for name in names):
            faults.append((f"line {line}: {given!r} occurs twice.", ""))
        elif names:
            found |= dict.fromkeys(names, row)
        elif given not in left_out:
            faults.append((f"line {line}: there is no image {given!r}.", given))
    check_faults(path, faults, known, f"paths of images below {index.root}, each once")
    return found


def named_images(index: Index) -> dict[str, list[str]]:
    """Return the images that a path in a table stands for: one, or all that are pictures of a file of several."""
    known = {printable(name): [name] for name in index.paths}
    for name in index.paths:
        file, number = split_name(Path(name))
        if number is not None:
            known.setdefault(printable(file.as_posix()), []).append(name)
    return known


def read_lines(path: Path, column: str) -> list[tuple[int, dict[str, str]]]:
    """Return number and content of each line of a CSV file, without spaces around values.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not text, or lacks the column `path` or `column`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a CSV file with the columns path and {column} at {path}, found none.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # Excel begins UTF-8 with a mark
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = columns = [name.strip() for name in reader.fieldnames or []]
            lines = [(reader.line_num, {k: (v or "").strip() for k, v in row.items() if k}) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"Expected CSV in UTF-8 in {path}, it can't be read: {error}. Save it as CSV in UTF-8."
        ) from error
    missing = [name for name in ("path", column) if name not in columns]
    if missing:
        raise ValueError(
            f"Expected the columns path and {column} in {path}, found {', '.join(columns) or 'nothing'}. "
            f"Name {' and '.join(missing)} in its first line, separated by commas."
        )
    return lines


def check_faults(path: Path, faults: Faults, known: Iterable[str], expected: str) -> None:
    """Raise a ValueError that lists the first faults of a file, if there are any, with the nearest known names."""
    if faults:
        hints = [nearest(unknown, known) if unknown else "" for _, unknown in faults[:MOST]]  # slow, so only for these
        shown = "".join(f"\n  {fault}{hint}" for (fault, _), hint in zip(faults, hints, strict=False))
        more = f"\n  ... and {len(faults) - MOST} more" if len(faults) > MOST else ""
        raise ValueError(f"Expected {expected}, {path} has {len(faults)} other line(s):{shown}{more}")


def relabelled(index: Index, rows: Rows, classes: Sequence[Sequence[str]], path: Path) -> Index:
    """Return an index with a table's labels, and the folders' labels for images that the table doesn't label.

    Images without a class folder, whose label is -1, need one in the table.

    Args:
        index: The images.
        rows: Rows by path, each with `label`: a class by any of its names, or empty.
        classes: Each class's name, followed by other names for it.
        path: The table's file, for messages.

    Raises:
        ValueError: A label is of no class, an image is left without a label, or a class without images.
    """
    aliases = class_aliases(classes)
    labels, faults = index.labels.copy(), []
    for position, name in enumerate(index.paths):
        given = rows[name]["label"] if name in rows else ""
        if plain(given) in aliases:
            labels[position] = aliases[plain(given)]
        elif given:
            faults.append((f"{printable(name)}: there is no class {given!r}.", given))
        elif labels[position] < 0:
            faults.append((f"{printable(name)}: no class, neither by a folder nor by a line here.", ""))
    check_faults(path, faults, aliases, f"labels among {', '.join(index.classes)} for all images")
    index = replace(index, labels=labels)
    if missing := index.missing_classes():
        raise ValueError(
            f"Expected images of every class with the labels of {path}, found none of {', '.join(missing)}. "
            "List only the classes that you have in data.classes."
        )
    return index
