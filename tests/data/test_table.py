"""Table: labels and patients from a CSV file, and every fault of it named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.table import apply_tables, read_table

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


def test_apply_tables__patients_alone(index: Index, study_classes: list[list[str]], tmp_path: Path) -> None:
    table = write(tmp_path, f'path,patient\n"{HEAD}",p1\n{index.paths[0]},p1\n')

    _, patients = apply_tables(index, study_classes, None, table)

    assert patients is not None
    assert [index.paths[i] for i in np.flatnonzero(patients.numbers >= 0)] == [index.paths[0], HEAD]
    assert patients.numbers.max() == 0


def test_read_table__bad_files_may_be_named(index: Index, tmp_path: Path) -> None:
    smaller = index.without([(HEAD, "truncated")])

    assert read_table(write(tmp_path, f"path,label\n{HEAD},glioma\n"), smaller, "label") == {}
