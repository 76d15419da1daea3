"""Table: labels and patients from a CSV file, and every fault of it named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.table import apply_tables, classes_or_labels, read_table

HEAD = "Training/no_tumor/no_tumor (0).png"


@pytest.fixture
def index(image_folder: Path, study_classes: list[list[str]]) -> Index:
    return read_index(image_folder, study_classes)


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_apply_tables__none(index: Index, study_classes: list[list[str]]) -> None:
    assert apply_tables(index, study_classes, None, None) == (index, None)


def test_apply_tables__labels_by_any_name_of_a_class(
    index: Index, study_classes: list[list[str]], tmp_path: Path
) -> None:
    others = "Testing/glioma_tumor/image(0).jpg,no tumor\nTesting/glioma_tumor/image(1).jpg,\n"
    rows = f"\ufeffpath, label\n{HEAD},Glioma\n{others}"

    found, patients = apply_tables(index, study_classes, write(tmp_path, rows), None)

    assert patients is None
    changed = {found.paths[i]: int(found.labels[i]) for i in np.flatnonzero(found.labels != index.labels)}
    assert changed == {HEAD: 3, "Testing/glioma_tumor/image(0).jpg": 0}
    assert found.digest() != index.digest()
    assert found.digests == index.digests


def test_apply_tables__patients_beside_labels(index: Index, study_classes: list[list[str]], tmp_path: Path) -> None:
    rows = "".join(f"{path},,{'' if i % 7 == 0 else i // 2}\n" for i, path in enumerate(index.paths))

    found, patients = apply_tables(index, study_classes, write(tmp_path, f"path,label,patient\n{rows}"), "auto")

    assert np.array_equal(found.labels, index.labels)
    assert patients is not None
    assert patients.numbers[:6].tolist() == [-1, 0, 1, 1, 2, 2]
    assert patients.source == str(tmp_path / "table.csv")


def test_apply_tables__patients_by_folders_D07(tmp_path: Path, draw: Callable[..., Path]) -> None:
    for number, place in enumerate(["no/p1", "no/p1", "no/p2", "yes/p2", "yes"]):
        draw(tmp_path / "set" / place / f"{number}.png", seed=number)
    index = read_index(tmp_path / "set", [["no"], ["yes"]])

    _, patients = apply_tables(index, [["no"], ["yes"]], None, "auto")

    assert patients is not None
    assert dict(zip(index.paths, patients.numbers.tolist(), strict=True)) == {
        "no/p1/0.png": 0, "no/p1/1.png": 0, "no/p2/2.png": 1, "yes/4.png": -1, "yes/p2/3.png": 1
    }  # fmt: skip
    assert patients.source == "the folders inside the class folders"
    assert apply_tables(index, [["no"], ["yes"]], None, None)[1] is None


def test_apply_tables__patients_alone(index: Index, study_classes: list[list[str]], tmp_path: Path) -> None:
    table = write(tmp_path, f'path,patient\n"{HEAD}",p1\n{index.paths[0]},p1\n')

    _, patients = apply_tables(index, study_classes, None, table)

    assert patients is not None
    assert [index.paths[i] for i in np.flatnonzero(patients.numbers >= 0)] == [index.paths[0], HEAD]
    assert patients.numbers.max() == 0


def test_read_table__bad_files_may_be_named(index: Index, tmp_path: Path) -> None:
    smaller = index.without([(HEAD, "truncated")])

    assert read_table(write(tmp_path, f"path,label\n{HEAD},glioma\n"), smaller, "label") == {}


@pytest.mark.parametrize("mark", ["\\", "/"], ids=["D19 as Windows writes it", "as split.csv has it"])
def test_read_table__paths(mark: str, index: Index, tmp_path: Path) -> None:
    rows = "".join(f"{path.replace('/', mark)},p{number}\n" for number, path in enumerate(index.paths))

    found = read_table(write(tmp_path, f"path,patient\n{rows}"), index, "patient")

    assert {path: row["patient"] for path, row in found.items()} == {p: f"p{n}" for n, p in enumerate(index.paths)}


def test_apply_tables__D17_flat_images_by_the_tables_labels(draw: Callable[..., Path], tmp_path: Path) -> None:
    for number, name in enumerate(("1.png", "2.png", "patient/3.png", "notes.txt")):
        draw(tmp_path / "flat" / name, seed=number, format="png")
    table = write(tmp_path, "path,label,patient\n1.png,dog,p\n2.png,Dog,\npatient/3.png,cat,q\n")

    classes = [["cat"], ["dog"]]
    index, patients = apply_tables(read_index(tmp_path / "flat", classes, by_table=True), classes, table, "auto")

    assert index.paths == ("1.png", "2.png", "patient/3.png")
    assert index.labels.tolist() == [1, 1, 0]
    assert patients is not None
    assert patients.numbers.tolist() == [0, -1, 1]


def test_classes_or_labels__D17_the_table_names_the_classes(draw: Callable[..., Path], tmp_path: Path) -> None:
    draw(tmp_path / "flat" / "1.png")
    table = write(tmp_path, "path,label\n1.png,dog\n2.png,Dog\n3.png,cat\n4.png,\n")

    assert classes_or_labels(None, tmp_path / "flat", table) == [["cat"], ["Dog"]]
    assert classes_or_labels(["b", "a"], tmp_path / "flat", table) == [["b"], ["a"]]
    draw(tmp_path / "around" / "images" / "1.png")
    assert classes_or_labels(None, tmp_path / "around", table) == [["cat"], ["Dog"]]
    draw(tmp_path / "around" / "others" / "1.png")
    assert classes_or_labels(None, tmp_path / "around", table) == [["images"], ["others"]]
