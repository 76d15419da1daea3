"""Matlab: the files of figshare 1512427 (Cheng) as PNG files in class folders, with a table of their patients."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from brain_tumor_tl.cache import create_once
from brain_tumor_tl.files import write_csv

FOLDERS = {1: "meningioma_tumor", 2: "glioma_tumor", 3: "pituitary_tumor"}  # by `cjdata.label`, as in the set's README
PATIENTS_FILE = "patients.csv"
log = logging.getLogger("brain_tumor_tl")


class Slice(NamedTuple):
    """A slice: intensities `(H, W)` of 16 bits, label 1 to 3, and the patient's number."""

    pixels: NDArray[np.uint16]
    label: int
    patient: str


def convert(folder: Path, root: Path) -> None:
    """Write each slice below a folder as a 16-bit PNG file in its class's folder, and `patients.csv` beside them.

    Args:
        folder: Holds the .mat files, at any depth.
        root: Folder of the images, written completely or not at all, unless it exists; other processes wait.

    Raises:
        FileNotFoundError: There are no slices.
        ImportError: h5py is not installed.
        ValueError: A file is not one of the data set, or two have the same name.
    """
    files = find_slices(folder)
    repeated = sorted(name for name, count in Counter(path.stem for path in files).items() if count > 1)
    if repeated:
        raise ValueError(f"Expected each name once below {folder}, got several of {', '.join(repeated[:5])}.")

    def write(target: Path) -> None:
        rows = []
        for path in track(files, f"Converting {len(files)} files", transient=True):
            found = read_slice(path)
            name = f"{FOLDERS[found.label]}/{path.stem}.png"
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(found.pixels).save(target / name)
            rows.append({"path": name, "patient": found.patient})
        write_csv(target / PATIENTS_FILE, rows)

    create_once(root, "the converted images", write)


def find_slices(folder: Path) -> list[Path]:
    """Return the files of slices below a folder, in the order of their numbers; name the other .mat files in the log.

    The set's own `cvind.mat`, the folds of its authors, is such another file. A file with a number for a name must be a
    slice.

    Raises:
        FileNotFoundError: There are none.
        ImportError: h5py is not installed.
    """
    files = sorted(folder.rglob("*.mat"), key=lambda path: (len(path.stem), path.stem))
    slices = [path for path in files if path.stem.isdecimal() or has_slice(path)]
    others = [path.name for path in files if path not in set(slices)]
    if others:
        log.warning(
            f"{len(others)} .mat file(s) below {folder} without a slice (cjdata) are left out: {', '.join(others)}"
        )
    if not slices:
        raise FileNotFoundError(f"Expected .mat files of slices below data.matlab={folder}, found none.")
    return slices


def has_slice(path: Path) -> bool:
    """Tell whether a file is a MATLAB v7.3 file with `cjdata`."""
    h5py = import_h5py()
    try:
        with h5py.File(path) as file:
            return "cjdata" in file
    except OSError:
        return False


def import_h5py() -> Any:
    """Return h5py.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError("Reading MATLAB files needs h5py: pip install 'brain_tumor_tl[matlab]'.") from error
    return h5py


def read_slice(path: Path) -> Slice:
    """Read a MATLAB v7.3 file, which is HDF5, with `cjdata.image`, `cjdata.label` and `cjdata.PID`.

    Raises:
        ImportError: h5py is not installed.
        ValueError: The file holds something else.
    """
    h5py = import_h5py()
    try:
        with h5py.File(path) as file:
            image, label, patient = (np.asarray(file["cjdata"][name]) for name in ("image", "label", "PID"))
    except (OSError, KeyError) as error:
        raise ValueError(f"Expected cjdata.image, .label and .PID in MATLAB v7.3 in {path}: {error}.") from error
    number = int(label.flat[0])
    if number not in FOLDERS or image.ndim != 2 or image.min() < 0 or image.max() > 65535:
        raise ValueError(
            f"Expected a slice of 16 bits with a label of 1 to 3 in {path}, got label {number} and {image.dtype} of "
            f"shape {image.shape}."
        )
    pixels = np.ascontiguousarray(image.T, dtype=np.uint16)  # MATLAB stores columns contiguously
    return Slice(pixels, number, "".join(map(chr, patient.reshape(-1).astype(int))).strip())
