"""Matlab: slices of figshare's layout become PNG files in class folders, with a table of patients that splits use."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from brain_tumor_tl.data.index import read_index
from brain_tumor_tl.data.sources.matlab import FOLDERS, convert
from brain_tumor_tl.data.table import apply_tables

CLASSES = [[name] for name in FOLDERS.values()]


def write_mat(path: Path, pixels: Any, label: float, patient: str) -> None:
    """Write a slice as MATLAB does: columns together, text as numbers of letters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        table = file.create_group("cjdata")
        table["image"], table["label"] = np.asarray(pixels).T, np.array([[label]])
        table["PID"] = np.array([[ord(letter)] for letter in patient], dtype=np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six slices of 5 x 7 pixels in three classes, two of each patient, in two folders."""
    for number in range(6):
        pixels = np.arange(35, dtype=np.int16).reshape(5, 7) * (number + 1) * 90
        where = tmp_path / "mat" / ("1-3" if number < 3 else "4-6") / f"{number + 1}.mat"
        write_mat(where, pixels, number % 3 + 1, f"10036{number % 3}")
    return tmp_path / "mat"


def test_convert__pixels_classes_and_patients(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "png"
    convert(folder, root)

    index = read_index(root, CLASSES)
    _, patients = apply_tables(index, CLASSES, None, root / "patients.csv")

    assert index.paths == tuple(sorted(f"{FOLDERS[i % 3 + 1]}/{i + 1}.png" for i in range(6)))
    assert patients is not None
    assert patients.numbers.tolist() == [0, 0, 1, 1, 2, 2]
    pixels = np.asarray(Image.open(root / "glioma_tumor" / "5.png"))
    assert np.array_equal(pixels, np.arange(35).reshape(5, 7) * 450)
    assert not (tmp_path / "png.tmp").exists()


def test_convert__once_for_several_at_a_time(folder: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: convert(folder, tmp_path / "png"), range(3)))

    assert len(list((tmp_path / "png").rglob("*.png"))) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mat", "png", "png.lock"]


def test_convert__no_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Expected \.mat files of slices below data\.matlab="):
        convert(tmp_path, tmp_path / "png")


def test_convert__same_name_twice(folder: Path, tmp_path: Path) -> None:
    write_mat(folder / "again" / "3.mat", np.zeros((2, 2)), 1, "1")
    with pytest.raises(ValueError, match=r"each name once .* several of 3"):
        convert(folder, tmp_path / "png")


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_convert__D01_the_authors_folds_are_left_out_and_named(
    version: str, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if version == "5":
        (folder / "cvind.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    else:
        with h5py.File(folder / "cvind.mat", "w", userblock_size=512) as file:
            file["cvind"] = np.ones((1, 6))

    convert(folder, tmp_path / "png")

    assert len(list((tmp_path / "png").rglob("*.png"))) == 6
    assert "1 .mat file(s) below" in caplog.text
    assert "without a slice (cjdata) are left out: cvind.mat" in caplog.text


def test_convert__a_truncated_slice(folder: Path, tmp_path: Path) -> None:
    content = (folder / "4-6" / "5.mat").read_bytes()
    (folder / "4-6" / "5.mat").write_bytes(content[: len(content) // 2])

    with pytest.raises(ValueError, match=r"MATLAB v7\.3 in .*5\.mat"):
        convert(folder, tmp_path / "png")


def test_convert__another_format(folder: Path, tmp_path: Path) -> None:
    (folder / "7.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(ValueError, match=r"MATLAB v7\.3 in .*7\.mat"):
        convert(folder, tmp_path / "png")
    assert not (tmp_path / "png").exists()


@pytest.mark.parametrize(("pixels", "label"), [([[1, 2]], 4), ([[-1, 2]], 1), ([1, 2], 1)], ids=["label", "sign", "1d"])
def test_convert__another_slice(pixels: Any, label: int, tmp_path: Path) -> None:
    write_mat(tmp_path / "mat" / "1.mat", pixels, label, "1")
    with pytest.raises(ValueError, match=rf"16 bits with a label of 1 to 3 in .*1\.mat, got label {label}"):
        convert(tmp_path / "mat", tmp_path / "png")


def test_convert__names_the_extra(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"needs h5py: pip install 'brain_tumor_tl\[matlab\]'"):
        convert(folder, tmp_path / "png")
