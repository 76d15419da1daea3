"""Contents: the pictures of files become the images of an index, with digests, patients and series."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.data.contents import FROM_FOLDERS, FROM_IDS, FROM_VOLUMES, subject_of
from brain_tumor_tl.data.dicom import pseudonym
from brain_tumor_tl.data.index import Index, read_index
from brain_tumor_tl.data.leakage.survey import stray_files
from brain_tumor_tl.data.table import apply_tables

Write = Callable[..., Path]
CLASSES = [["no"], ["yes"]]
SLICE = np.arange(64, dtype=np.uint16).reshape(8, 8)
VOLUME = np.arange(8 * 8 * 12, dtype=np.int16).reshape(8, 8, 12)
AXIAL = [1, 0, 0, 0, 1, 0]


@pytest.fixture
def volumes(write_nifti: Write, draw: Write, tmp_path: Path) -> Path:
    """Two volumes of twelve slices and a PNG file."""
    write_nifti(tmp_path / "no" / "a.nii.gz", VOLUME)
    write_nifti(tmp_path / "yes" / "b.nii", VOLUME)
    draw(tmp_path / "yes" / "b.nii.png")
    return tmp_path


def test_read_index__slices_are_images(volumes: Path) -> None:
    index = read_index(volumes, CLASSES, slices="9-10")

    assert index.paths == ("no/a.nii.gz#09", "no/a.nii.gz#10", "yes/b.nii#09", "yes/b.nii#10", "yes/b.nii.png")
    assert index.labels.tolist() == [0, 0, 1, 1, 1]
    content = (volumes / "yes" / "b.nii").read_bytes()
    whole = hashlib.sha256(content).hexdigest()
    assert index.digests[3] == hashlib.sha256(f"{whole}#10".encode()).hexdigest()
    assert index.digests[4] == hashlib.sha256((volumes / "yes" / "b.nii.png").read_bytes()).hexdigest()
    assert (index.patients, index.patients_from) == (("no/a", "no/a", "yes/b", "yes/b", ""), FROM_VOLUMES)
    assert stray_files(index) == []


def test_read_index__slices_are_part_of_the_identity(volumes: Path) -> None:
    digests = {read_index(volumes, CLASSES, slices=rule).digest() for rule in ("all", "9-10", "8-9", "middle")}

    assert len(digests) == 4


def test_read_index__no_slice_of_a_file_is_chosen(volumes: Path) -> None:
    index = read_index(volumes, CLASSES, slices="20-30")

    reason = "none of its 12 slices is among data.slices=20-30"
    assert index.paths == ("yes/b.nii.png",)
    assert index.bad == (("no/a.nii.gz", reason), ("yes/b.nii", reason))


def test_apply_tables__a_line_for_a_file_is_for_all_its_slices(volumes: Path) -> None:
    index = read_index(volumes, CLASSES)
    table = volumes / "table.csv"
    table.write_text("path,label,patient\nno/a.nii.gz,yes,7\nyes/b.nii#00,no,8\n")

    found, patients = apply_tables(index, CLASSES, table, "auto")

    changed = [name for name, old, new in zip(index.paths, index.labels, found.labels, strict=True) if old != new]
    assert changed == [*index.paths[:12], "yes/b.nii#00"]
    assert patients is not None
    assert patients.numbers.tolist() == [0] * 12 + [1] + [-1] * 12
    table.write_text("path,label\nno/a.nii.gz,yes\nno/a.nii.gz#03,no\n")
    with pytest.raises(ValueError, match=r"line 3: 'no/a.nii.gz#03' occurs twice"):
        apply_tables(index, CLASSES, table, None)


def series(write_dicom: Write, root: Path, ids: tuple[str, str] = ("H-001", "H-002")) -> Index:
    """Write two series of five slices, of which the last file is the lowest, and return the index of their middle."""
    for number, name in enumerate(("no", "yes")):
        for k in range(5):
            place = {"ImagePositionPatient": [0, 0, 3.0 * (k + 1) % 15], "ImageOrientationPatient": AXIAL}
            values = SLICE + 100 * number + k
            write_dicom(root / name / f"{k}", values, SeriesInstanceUID=f"1.{number}", PatientID=ids[number], **place)
    return read_index(root, CLASSES, slices="middle")


def test_read_index__dicom_series_in_order_of_place(write_dicom: Write, tmp_path: Path) -> None:
    index = series(write_dicom, tmp_path)

    assert index.paths == ("no/1", "yes/1")  # at 0, 3, 6, 9 and 12 mm stand the files 4, 0, 1, 2 and 3
    assert index.not_chosen == tuple(f"{name}/{k}" for name in ("no", "yes") for k in (0, 2, 3, 4))
    assert (index.patients, index.patients_from) == ((pseudonym("H-001"), pseudonym("H-002")), FROM_IDS)
    assert not any("H-00" in text for text in (*index.patients, repr(index)))
    assert stray_files(index) == []
    assert len(read_index(tmp_path, CLASSES)) == 10


def test_read_index__slices_beyond_a_series(write_dicom: Write, tmp_path: Path) -> None:
    series(write_dicom, tmp_path)

    index = read_index(tmp_path, CLASSES, slices="5-9")

    assert {reason for _, reason in index.bad} == {"none of the 5 slices of its series is among data.slices=5-9"}
    assert len(index.bad) == 10


def test_read_index__one_id_for_all_is_none(write_dicom: Write, tmp_path: Path) -> None:
    assert series(write_dicom, tmp_path, ids=("ANONYMOUS", "ANONYMOUS")).patients == ()


def test_read_index__ids_come_before_folders_and_folders_before_volumes(
    write_dicom: Write, write_nifti: Write, tmp_path: Path
) -> None:
    for name in ("no", "yes"):
        for k in range(2):
            write_nifti(tmp_path / name / f"{name}{k}" / "scan.nii", VOLUME)
    folders = read_index(tmp_path, CLASSES, slices="middle")
    for name in ("no", "yes"):
        write_dicom(tmp_path / name / f"{name}0" / "scan.dcm", SLICE, PatientID=name)
    ids = read_index(tmp_path, CLASSES, slices="middle")

    assert (folders.patients, folders.patients_from) == (("no0", "no1", "yes0", "yes1"), FROM_FOLDERS)
    assert ids.patients_from == FROM_IDS
    assert ids.patients == (pseudonym("no"), "", "", pseudonym("yes"), "", "")


def test_apply_tables__scans_of_one_patient_are_merged_by_pseudonyms(write_dicom: Write, tmp_path: Path) -> None:
    index = series(write_dicom, tmp_path, ids=("MR017260A", "MR017260B"))

    _, apart = apply_tables(index, CLASSES, None, "auto")
    _, merged = apply_tables(index, CLASSES, None, "auto", merge_scans=True)

    assert apart is not None
    assert merged is not None
    assert (apart.numbers.tolist(), merged.numbers.tolist()) == ([0, 1], [0, 0])


def test_read_index__a_name_that_stands_for_a_picture(write_dicom: Write, draw: Write, tmp_path: Path) -> None:
    for name in ("no", "yes"):
        draw(tmp_path / name / "0.png")
    write_dicom(tmp_path / "no" / "scan#3", SLICE)

    index = read_index(tmp_path, CLASSES)

    assert index.bad == (("no/scan#3", "ends in # and a number, as the names of pictures in a file do; rename it"),)


def test_read_index__flat_dicom_files_and_a_table(write_dicom: Write, tmp_path: Path) -> None:
    write_dicom(tmp_path / "IM1", SLICE)
    write_dicom(tmp_path / "IM2.dcm", np.zeros((3, 8, 8), np.uint16))
    (tmp_path / "README").write_text("no image")

    index = read_index(tmp_path, CLASSES, by_table=True)

    assert index.paths == ("IM1", "IM2.dcm#0", "IM2.dcm#1", "IM2.dcm#2")


SUBJECTS = {
    "no/sub-01_ses-2_T1w.nii.gz": "sub-01", "a/BraTS-GLI-00005-000-t1n.nii.gz": "a/BraTS-GLI-00005-000",
    "a/IXI002-Guys-0828-T1.nii": "a/IXI002-Guys-0828", "a/t1.nii": "a/t1", "a/1.2.840.7": "a/1.2.840.7",
    "a/scan.dcm": "a/scan",
}  # fmt: skip


@pytest.mark.parametrize(("path", "subject"), SUBJECTS.items(), ids=list(SUBJECTS))
def test_subject_of__name(path: str, subject: str) -> None:
    assert subject_of(path) == subject
