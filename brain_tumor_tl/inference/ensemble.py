"""Ensemble: several finished runs as one, by the mean of their probabilities; and `load`, which opens runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.inference.pictures import Source, as_list
from brain_tumor_tl.inference.predict import predict_all
from brain_tumor_tl.inference.trained_run import TrainedRun


class Ensemble:
    """Several finished runs, whose prediction is the mean of their probabilities (Lakshminarayanan et al. 2017).

    Args:
        runs: For the same classes in the same order, as `load_runs` returns them.
    """

    def __init__(self, runs: Sequence[TrainedRun]) -> None:
        self.runs, self.classes = tuple(runs), runs[0].classes

    def predict(self, images: Source | Iterable[Source], tta: bool = False) -> NDArray[np.float32]:
        """Return the mean of the runs' probabilities, `(N, K)`; see `TrainedRun.predict`."""
        return predict_all(self.runs, as_list(images), tta).probabilities


@overload
def load(folder: str | Path, /, *, device: str = "auto", precision: str = "auto") -> TrainedRun: ...


@overload
def load(
    first: str | Path, second: str | Path, /, *more: str | Path, device: str = "auto", precision: str = "auto"
) -> Ensemble: ...


def load(*folders: str | Path, device: str = "auto", precision: str = "auto") -> TrainedRun | Ensemble:
    """Open finished runs by their folders: one as a `TrainedRun`, several as an `Ensemble`.

    Args:
        folders: Each the folder of a finished run.
        device: "auto", "cpu", "cuda" or "mps".
        precision: "auto" for what is fast on the device, "32-true", "bf16-mixed" or "16-mixed".

    Raises:
        ValueError: A folder has no finished run, its weights can't be used, or the runs are for different classes.
    """
    if not folders:
        raise ValueError("Expected the folder of a finished run, got none.")
    runs = load_runs(folders, device, precision)
    return runs[0] if len(runs) == 1 else Ensemble(runs)


def load_runs(folders: Sequence[str | Path], device: str, precision: str) -> list[TrainedRun]:
    """Open finished runs for the same classes in the same order; see `load`."""
    runs = [TrainedRun(folder, device, precision) for folder in folders]
    check_classes(runs)
    return runs


def check_classes(runs: Sequence[TrainedRun]) -> None:
    """Raise a ValueError if runs don't have the same classes in the same order."""
    for run in runs:
        if run.classes != runs[0].classes:
            raise ValueError(
                f"Expected runs for the same classes in the same order: {runs[0].folder} is for "
                f"{', '.join(runs[0].classes)}, {run.folder} for {', '.join(run.classes)}. Give them one by one."
            )
