"""Reference: what a finished run kept of its training images, to warn of pictures that are unlike them."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from brain_tumor_tl.evaluation.novelty import Reference
from brain_tumor_tl.reporting.discover import REFERENCE


def load_reference(folder: Path) -> Reference | None:
    """Return what a run kept of its training images; None for a run of an earlier version, which kept nothing.

    Args:
        folder: The run's folder.

    Raises:
        ValueError: The file is damaged.
    """
    path = folder / REFERENCE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            return Reference(kept["axes"], kept["centre"], int(kept["width"]), float(kept["threshold"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"Expected the features of training images in {path}, it can't be read: {error}. Put the file back if you "
            "have a copy, or remove it to predict without distances."
        ) from error
