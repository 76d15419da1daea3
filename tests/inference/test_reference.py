from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.inference.reference import load_reference
from brain_tumor_tl.reporting.discover import REFERENCE


def test_load_reference__of_an_earlier_version_is_none(tmp_path: Path) -> None:
    assert load_reference(tmp_path) is None


@pytest.mark.parametrize("whole", [b"", b"PK\x03\x04 cut off", b"text"], ids=["empty", "cut-off", "text"])
def test_load_reference__damaged(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / REFERENCE).write_bytes(whole)

    with pytest.raises(ValueError, match=r"reference\.npz, it can't be read: .* remove it to predict without"):
        load_reference(tmp_path)


def test_load_reference__takes_no_pickles(tmp_path: Path) -> None:
    np.savez(tmp_path / REFERENCE, axes=np.array([print], dtype=object), width=4, threshold=0.1)

    with pytest.raises(ValueError, match="it can't be read: Object arrays cannot be loaded"):
        load_reference(tmp_path)
