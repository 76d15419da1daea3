"""A run on DICOM series and NIfTI volumes: whole patients in each split, slices chosen, no id in any file."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from brain_tumor_tl.data.dicom import pseudonym

Train = Callable[..., dict[str, Any]]
SETTINGS = ("data=folder", "data.split=patients", "data.test_fraction=0.5", "trainer.max_epochs=1")


def split_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "split.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def head(seed: int) -> np.ndarray[Any, np.dtype[np.uint16]]:
    return np.random.default_rng(seed).integers(0, 3000, (24, 24)).astype(np.uint16)


def test_train__dicom_patients(run_train: Train, write_dicom: Callable[..., Path], tmp_path: Path) -> None:
    for patient in range(8):
        for k in range(3):
            path = tmp_path / "set" / ("no", "yes")[patient % 2] / f"IM{patient}{k}"
            write_dicom(path, head(10 * patient + k), PatientID=f"MRN-{patient:04}", SeriesInstanceUID=f"1.{patient}",
                        InstanceNumber=k, WindowCenter=1000, WindowWidth=2000)  # fmt: skip
    folder = tmp_path / "run"

    results = run_train(folder, *SETTINGS, f"data.root={tmp_path / 'set'}", "data.slices=1-2")

    rows = split_of(folder)
    assert len(rows) == 16
    assert not any(row["path"].endswith("0") for row in rows)
    splits = {
        row["pseudonym"]: {other["split"] for other in rows if other["pseudonym"] == row["pseudonym"]} for row in rows
    }
    assert set(splits) == {pseudonym(f"MRN-{patient:04}") for patient in range(8)}
    assert all(len(names) == 1 for names in splits.values())
    assert results["protocol"]["patients_from"] == "PatientID in the DICOM files, recorded as pseudonyms"
    assert results["protocol"]["intensity"]["own_window"] == 16
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 8
    assert not any(b"MRN-" in path.read_bytes() for path in written)


def test_train__nifti_volumes(run_train: Train, tmp_path: Path) -> None:
    import nibabel

    for number in range(6):
        path = tmp_path / "set" / ("no", "yes")[number % 2] / f"sub-{number}_T1w.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.stack([head(10 * number + k) for k in range(10)], axis=-1).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    folder = tmp_path / "run"

    run_train(folder, *SETTINGS, f"data.root={tmp_path / 'set'}", "data.slices=30%-70%")

    rows = split_of(folder)
    assert [row["path"] for row in rows[:5]] == [f"no/sub-0_T1w.nii.gz#{k}" for k in (3, 4, 5, 6)] + [
        "no/sub-2_T1w.nii.gz#3"
    ]
    assert len(rows) == 24
    assert all(len({row["split"] for row in rows if f"sub-{number}_" in row["path"]}) == 1 for number in range(6))
    results = json.loads((folder / "results.json").read_text())
    assert results["config"]["data"]["slices"] == "30%-70%"
    with (folder / "predictions.csv").open(newline="") as file:
        predicted = {row["path"] for row in csv.DictReader(file)}
    assert predicted == {row["path"] for row in rows if row["split"] == "test"}
