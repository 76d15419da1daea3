"""Writers of DICOM and NIfTI files for the tests of `data`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

WriteDicom = Callable[..., Path]
WriteNifti = Callable[..., Path]


@pytest.fixture
def write_dicom() -> WriteDicom:
    """Write a DICOM file: `write_dicom(path, values, compressed="", **elements by their keywords)`; return its path.

    Values are `(H, W)` for one grey picture, `(H, W, 3)` for one in colour, `(frames, H, W)` for several.
    """

    def write(path: Path, values: NDArray[Any], compressed: str = "", **elements: Any) -> Path:
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        colour = values.shape[-1] == 3 and values.ndim == 3
        frames = values if values.ndim == 3 and not colour else values[None]
        data.Rows, data.Columns = frames.shape[1:3]
        data.BitsAllocated = data.BitsStored = 8 * values.itemsize
        data.HighBit = data.BitsStored - 1
        data.PixelRepresentation = int(values.dtype.kind == "i")
        data.SamplesPerPixel = 3 if colour else 1
        data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        if colour:
            data.PlanarConfiguration = 0
        if len(frames) > 1:
            data.NumberOfFrames = len(frames)
        for name, value in elements.items():
            setattr(data, name, value)
        data.PixelData = frames.tobytes() + b"\0" * (frames.nbytes % 2)
        if compressed:
            data.compress(compressed)
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_nifti() -> WriteNifti:
    """Write a NIfTI file: `write_nifti(path, values, affine=None, **keywords of Nifti1Image)`; return its path.

    By default the axes run to the patient's right, front and head.
    """

    def write(path: Path, values: NDArray[Any], affine: NDArray[Any] | None = None, **keywords: Any) -> Path:
        import nibabel

        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine, **keywords), path)
        return path

    return write
