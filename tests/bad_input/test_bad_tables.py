"""Bad tables: each fault of a CSV file is named with its line and the nearest right name."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.table import apply_tables, read_table

Draw = Callable[..., Path]

HEAD = "Training/no_tumor/no_tumor (0).png"
REFUSED = {
    "unknown path": (
        "path,label\nTraining/no_tumor/no_tumor (O).png,glioma\n",
        r"line 2: there is no image 'Training/no_tumor/no_tumor \(O\)\.png'\. Did you mean `Training/no_tumor/no_tumor",
    ),
    "many unknown paths": (
        "path,label\n" + "".join(f"{i}.png,glioma\n" for i in range(9)),
        r"has 9 other line\(s\):(.|\n)*line 6:(.|\n)*\.\.\. and 4 more",
    ),
    "path twice": (f"path,label\n{HEAD},glioma\n{HEAD},pituitary\n", r"line 3: .* occurs twice"),
    "unknown class": (
        f"path,label\n{HEAD},gliona\n",
        r"no_tumor \(0\)\.png: there is no class 'gliona'\. Did you mean `glioma`",
    ),
    "no column": ("file,label\na.png,glioma\n", r"columns path and label in .*, found file, label\. Name path in"),
    "no columns": ("", r"found nothing\. Name path and label in its first line"),
    "semicolons": (f"path;label\n{HEAD};glioma\n", r"found path;label\. .* separated by commas"),
}


@pytest.fixture
def index(image_folder: Path, study_classes: list[list[str]]) -> Index:
    return read_index(image_folder, study_classes)


@pytest.mark.parametrize(("text", "expected"), REFUSED.values(), ids=REFUSED)
def test_apply_tables__faults_are_named(
    text: str, expected: str, index: Index, study_classes: list[list[str]], tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match=expected):
        apply_tables(index, study_classes, table, None)


def test_apply_tables__no_such_file(index: Index, study_classes: list[list[str]], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"columns path and patient at .*absent\.csv, found none"):
        apply_tables(index, study_classes, None, tmp_path / "absent.csv")


def test_apply_tables__no_text(index: Index, study_classes: list[list[str]], image_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"CSV in UTF-8 in .* it can't be read"):
        apply_tables(index, study_classes, image_folder / HEAD, None)


def test_apply_tables__another_encoding(index: Index, study_classes: list[list[str]], tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(f"path,label\n{HEAD},glioma\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"Expected CSV in UTF-8 in .*table\.csv.*\. Save it as CSV in UTF-8\."):
        apply_tables(index, study_classes, tmp_path / "table.csv", None)


def test_apply_tables__class_without_images(index: Index, study_classes: list[list[str]], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    lines = [f"{path},glioma" for path in index.paths if re.search("no_tumor", path)]
    table.write_text("\n".join(["path,label", *lines]), encoding="utf-8")

    with pytest.raises(ValueError, match=r"images of every class with the labels of .* found none of no_tumor\."):
        apply_tables(index, study_classes, table, None)


def test_apply_tables__D19_thousands_of_unknown_paths_are_refused_at_once(index: Index, tmp_path: Path) -> None:
    paths = tuple(f"Training/no_tumor/no_tumor ({number}).png" for number in range(20000))
    many = replace(index, paths=paths, labels=np.zeros(20000, np.int64), digests=paths, official=("train",) * 20000)
    table = tmp_path / "table.csv"
    table.write_text("path,patient\n" + "".join(f"{path[:-3]}jpg,p\n" for path in paths), encoding="utf-8")

    started = time.process_time()
    with pytest.raises(
        ValueError, match=r"has 20000 other line\(s\):(.|\n)*Did you mean `Training/no_tumor/no_tumor \(0\)"
    ):
        read_table(table, many, "patient")

    assert time.process_time() - started < 20  # a suggestion for each of them would take hours


def test_apply_tables__D17_images_without_a_class(flat: Path, tmp_path: Path) -> None:
    classes = [["cat"], ["dog"]]
    index = read_index(flat, classes, by_table=True)

    with pytest.raises(
        ValueError, match=r"has 1 other line\(s\):\n  3\.png: no class, neither by a folder nor by a line"
    ):
        apply_tables(index, classes, write(tmp_path, "path,label\n1.png,cat\n2.png,dog\nmore/4.png,dog\n"), None)


def test_read_index__D17_no_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected images in .*, found none that ends in \.bmp"):
        read_index(tmp_path, [["cat"], ["dog"]], by_table=True)


def test_read_index__D17_flat_images_without_a_table(flat: Path) -> None:
    with pytest.raises(ValueError, match=r"or class folders in .*, found more\. .*data\.labels=CSV"):
        read_index(flat, [["cat"], ["dog"]])


@pytest.fixture
def flat(tmp_path: Path, draw: Draw) -> Path:
    """Four images without class folders."""
    for number, name in enumerate(("1.png", "2.png", "3.png", "more/4.png")):
        draw(tmp_path / "flat" / name, seed=number)
    return tmp_path / "flat"


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path
