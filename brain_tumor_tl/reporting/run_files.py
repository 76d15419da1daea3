"""Run files: what a page of one run is made from, read from its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brain_tumor_tl.files import read_csv
from brain_tumor_tl.reporting.discover import Run
from brain_tumor_tl.reporting.predictions import read_split

PROBABILITY = "probability/"


@dataclass(frozen=True)
class RunFiles:
    """A finished run: the contents of its files, empty for a file that it doesn't have.

    Attributes:
        folder: Its folder.
        results: results.json.
        epochs: metrics.csv, a row for each epoch, without the cells that are empty.
        predictions: predictions.csv, a row for each test image.
        split: split.csv, a row for each image.
    """

    folder: Path
    results: Mapping[str, Any]
    epochs: Sequence[Mapping[str, float]]
    predictions: Sequence[Mapping[str, str]]
    split: Sequence[Mapping[str, str]]

    @property
    def classes(self) -> list[str]:
        """Name of each class."""
        return list(self.results.get("classes") or self.results.get("per_class") or ())

    @property
    def monitored(self) -> str:
        """The split that was evaluated after each epoch."""
        return str(self.results["protocol"].get("monitored") or self.results["protocol"].get("best_chosen_on", "val"))

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """True class of each test image, `(N,)`."""
        return np.array([int(row["label"]) for row in self.predictions], dtype=np.int64)

    @cached_property
    def probabilities(self) -> NDArray[np.float64] | None:
        """Probabilities of the test images, `(N, K)`; None if the run has none."""
        columns = [PROBABILITY + name for name in self.classes]
        if not self.predictions or not columns or not self.predictions[0].keys() >= set(columns):
            return None
        return np.array([[float(row[column]) for column in columns] for row in self.predictions])


def read_run_files(run: Run) -> RunFiles:
    """Return the contents of a finished run's files.

    Raises:
        ValueError: A file is there and can't be read.
    """
    rows = {name: read_if_there(run.folder / f"{name}.csv") for name in ("metrics", "predictions")}
    split = read_split(run.folder, "class", "split") if (run.folder / "split.csv").is_file() else {}
    try:
        epochs = [{key: float(cell) for key, cell in row.items() if cell} for row in rows["metrics"]]
        files = RunFiles(run.folder, run.results, epochs, rows["predictions"], list(split.values()))
        _ = files.labels
        if files.probabilities is not None:
            _ = [(row["class"], row["predicted"]) for row in files.predictions]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"Expected the tables of a run in {run.folder}, metrics.csv or predictions.csv is damaged: {error!r}. "
            "Restore it, or train the run anew with force=true."
        ) from error
    return files


def read_if_there(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, none if there is no such file."""
    return read_csv(path) if path.is_file() else []
