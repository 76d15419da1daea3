"""Bad tables: each fault of a CSV file is named with its line and the nearest right name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.table import apply_tables

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


def test_apply_tables__class_without_images(index: Index, study_classes: list[list[str]], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    lines = [f"{path},glioma" for path in index.paths if re.search("no_tumor", path)]
    table.write_text("\n".join(["path,label", *lines]), encoding="utf-8")

    with pytest.raises(ValueError, match=r"images of every class with the labels of .* found none of no_tumor\."):
        apply_tables(index, study_classes, table, None)
