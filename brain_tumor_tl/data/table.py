"""Table: a CSV file that says more of images than their folders do: other labels, patients."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from brain_tumor_tl.data.index import Index, class_aliases, plain, printable
from brain_tumor_tl.data.splits.groups import Indices, named_groups
from brain_tumor_tl.names import nearest

MOST = 5  # faults that a message names one by one
Rows = dict[str, dict[str, str]]


def described(
    index: Index, classes: Sequence[Sequence[str]], labels: Path | None, patients: Path | None
) -> tuple[Index, Indices | None]:
    """Return an index with the labels of one table, and groups of a patient's images by another, None for none.

    Args:
        index: The images.
        classes: Each class's name, followed by other names for it.
        labels: CSV file with `path`, `label` and perhaps `patient`; None to keep the folders' labels.
        patients: CSV file with `path` and `patient`; None for the `patient` column of `labels` if it has one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file doesn't fit the images.
    """
    groups = None
    if labels is not None:
        rows = read_table(labels, index, "label")
        index = relabelled(index, rows, classes, labels)
        if all("patient" in row for row in rows.values()):
            groups = patient_groups(index, rows)
    if patients is not None:
        groups = patient_groups(index, read_table(patients, index, "patient"))
    return index, groups


def read_table(path: Path, index: Index, column: str) -> Rows:
    """Read a CSV file with a `path` column, and return its rows by the path of the image.

    Args:
        path: The file; UTF-8, its first line names the columns.
        index: The images that it may name, by their paths in `split.csv`.
        column: A column that it must have besides.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A column is absent, a path is of no image, or one stands there twice.
    """
    rows = read_rows(path, column)
    known = {printable(name): name for name in index.paths}
    left_out = {printable(name) for name, _ in index.bad}
    faults, found = [], Rows()
    for line, row in rows:
        name = known.get(row["path"])
        if name is None and row["path"] not in left_out:
            faults.append(f"line {line}: there is no image {row['path']!r}.{nearest(row['path'], known)}")
        elif name in found:
            faults.append(f"line {line}: {row['path']!r} stands there twice.")
        elif name is not None:
            found[name] = row
    refuse_faults(path, faults, f"paths of images below {index.root}, each once")
    return found


def read_rows(path: Path, column: str) -> list[tuple[int, dict[str, str]]]:
    """Return number and content of each line of a CSV file, gaps around values taken off.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no text, or the columns `path` and `column` are not both there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a CSV file with the columns path and {column} at {path}, found none.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # Excel begins UTF-8 with a mark
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = columns
            lines = [(reader.line_num, {k: (v or "").strip() for k, v in row.items() if k}) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"Expected CSV in UTF-8 in {path}, it can't be read: {error}.") from error
    absent = [name for name in ("path", column) if name not in columns]
    if absent:
        raise ValueError(
            f"Expected the columns path and {column} in {path}, found {', '.join(columns) or 'nothing'}. "
            f"Name {' and '.join(absent)} in its first line, with commas between."
        )
    return lines


def refuse_faults(path: Path, faults: Sequence[str], expected: str) -> None:
    """Raise a ValueError that names the first faults of a file, where there are any."""
    if not faults:
        return
    shown = "\n".join(f"  {fault}" for fault in faults[:MOST])
    more = f"\n  ... and {len(faults) - MOST} more" if len(faults) > MOST else ""
    raise ValueError(f"Expected {expected}, {path} has {len(faults)} line(s) of another kind:\n{shown}{more}")


def relabelled(
    index: Index, rows: Mapping[str, Mapping[str, str]], classes: Sequence[Sequence[str]], path: Path
) -> Index:
    """Return an index with the labels of a table in place of those of the folders, where the table has one.

    Args:
        index: The images.
        rows: Rows by path, each with `label`: a class by any of its names, or empty.
        classes: Each class's name, followed by other names for it.
        path: The table's file, for messages.

    Raises:
        ValueError: A label is of no class, or a class has no image left.
    """
    aliases = class_aliases(classes)
    labels, faults = index.labels.copy(), []
    positions = {name: position for position, name in enumerate(index.paths)}
    for name, row in rows.items():
        label = aliases.get(plain(row["label"]))
        if label is not None:
            labels[positions[name]] = label
        elif row["label"]:
            faults.append(f"{printable(name)}: there is no class {row['label']!r}.{nearest(row['label'], aliases)}")
    refuse_faults(path, faults, f"labels among {', '.join(index.classes)}")
    lost = [name for label, name in enumerate(index.classes) if label not in labels]
    if lost:
        raise ValueError(
            f"Expected images of every class once {path} has given its labels, found none of {', '.join(lost)}. "
            "List only the classes that you have in data.classes."
        )
    return replace(index, labels=labels)


def patient_groups(index: Index, rows: Mapping[str, Mapping[str, str]]) -> Indices:
    """Return groups of images of one patient, `(N,)`; an image without a patient stands alone.

    Args:
        index: The images.
        rows: Rows by path, each with `patient`.
    """
    return named_groups([rows[name]["patient"] if name in rows else "" for name in index.paths])
