"""Patients: recognised by the files' digests, named by the user, and told apart."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.patients import DIGITS, KAGGLE, Patients, make_patients
from brain_tumor_tl.data.table import apply_tables
from brain_tumor_tl.files import read_csv

ROWS = read_csv(KAGGLE)


def test_kaggle_table__its_figures() -> None:
    assert list(ROWS[0]) == ["path", "patient", "sha256"]
    assert (len(ROWS), len({row["patient"] for row in ROWS})) == (2345, 202)
    assert len({row["path"] for row in ROWS}) == 2345
    assert {len(row["sha256"]) for row in ROWS} == {DIGITS}
    assert Counter(row["path"].split("/")[1] for row in ROWS) == {
        "glioma_tumor": 844,
        "meningioma_tumor": 679,
        "pituitary_tumor": 822,
    }
    assert len({row["sha256"] for row in ROWS}) == len({(row["sha256"], row["patient"]) for row in ROWS}) == 2310


def test_kaggle_table__its_figures_are_those_of_its_description() -> None:
    text = KAGGLE.with_suffix(".md").read_text(encoding="utf-8")

    for figure in ("2345 of the 3264", "202 patients", "844", "679", "822", "2310 different contents", "CC BY 4.0"):
        assert figure in text


@pytest.fixture
def index(image_folder: Path, study_classes: list[list[str]]) -> Index:
    """Drawn images; the first three have the digests of two patients of the study's."""
    found = read_index(image_folder, study_classes)
    digests = [ROWS[row]["sha256"] + "0" * 48 for row in (1, 0, 1)]
    return replace(found, digests=(*digests, *found.digests[3:]))


def test_apply_tables__images_are_recognised_by_their_content(index: Index, study_classes: list[list[str]]) -> None:
    _, patients = apply_tables(index, study_classes, None, "auto")

    assert patients is not None
    assert patients.numbers.tolist() == [0, 1, 0, *[-1] * 25]
    assert patients.source == "kaggle_patients.csv of the package, by the files' digests"


def test_apply_tables__no_image_is_recognised(image_folder: Path, study_classes: list[list[str]]) -> None:
    assert apply_tables(read_index(image_folder, study_classes), study_classes, None, "auto")[1] is None


def test_apply_tables__patients_turned_off(index: Index, study_classes: list[list[str]]) -> None:
    assert apply_tables(index, study_classes, None, None)[1] is None


def test_apply_tables__a_table_replaces_what_is_recognised(
    index: Index, study_classes: list[list[str]], tmp_path: Path
) -> None:
    table = tmp_path / "mine.csv"
    table.write_text(f"path,patient\n{index.paths[5]},p\n", encoding="utf-8")

    _, patients = apply_tables(index, study_classes, None, table)

    assert patients is not None
    assert np.flatnonzero(patients.numbers >= 0).tolist() == [5]
    assert patients.source == str(table)


def test_make_patients__scans_of_one_patient() -> None:
    names = ["MR017260B", "MR017260C", "MR017261B", "100360", "", "Ann"]

    apart, merged = (make_patients(names, "table", merge_scans) for merge_scans in (False, True))

    assert apart is not None
    assert apart.numbers.tolist() == [0, 1, 2, 3, -1, 4]
    assert merged is not None
    assert merged.numbers.tolist() == [0, 0, 1, 2, -1, 3]
    assert "5 ids, of which those that differ only in a last letter are one patient: 4 patients" in merged.source


def test_describe__how_many_are_known() -> None:
    patients = Patients(np.array([4, -1, -1, 4, -1]), "p.csv")

    assert patients.describe(np.array([0, 2])) == "known for 2 of 5 images, 1 of the 2 test images, from p.csv"


def test_make_patients__none() -> None:
    assert make_patients(["", ""], "table", merge_scans=True) is None


@pytest.mark.real_data
def test_apply_tables__the_studys_images(real_data: Path, study_classes: list[list[str]], tmp_path: Path) -> None:
    index = read_index(real_data, study_classes)
    _, patients = apply_tables(index, study_classes, None, "auto")
    assert patients is not None
    by_path = {row["path"]: row for row in ROWS}
    for path, number, digest in zip(index.paths, patients.numbers.tolist(), index.digests, strict=True):
        assert (number >= 0) == (path in by_path)
        assert path not in by_path or digest.startswith(by_path[path]["sha256"])
    names = [by_path[path]["patient"] if path in by_path else "" for path in index.paths]
    expected = make_patients(names, "paths", merge_scans=False)
    assert expected is not None
    assert np.array_equal(patients.numbers, expected.numbers)

    for number, path in enumerate(index.paths[::100]):  # a part of the images, with other names
        folder = tmp_path / "other" / re.split("/", path)[1]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(real_data / path, folder / f"{number:03}.jpg")
    subset = read_index(tmp_path / "other", study_classes)
    _, found = apply_tables(subset, study_classes, None, "auto")
    assert found is not None
    assert (found.numbers >= 0).sum() == (patients.numbers[::100] >= 0).sum() > 0
