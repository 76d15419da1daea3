"""A writer of NIfTI files for the tests of `data`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

WriteNifti = Callable[..., Path]


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
