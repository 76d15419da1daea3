"""Run folder: whether a folder holds a finished run; known at once, before PyTorch is imported."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from brain_tumor_tl.reporting.results_file import read_results

# Keys of results.json that opening a run takes for granted; a report does without them.
NEEDED = (
    "classes", "protocol.accuracy_of", "config.data.root", "config.data.classes", "config.data.image_size",
    "config.data.normalize", "config.data.cache_dir", "config.data.on_bad_file", "config.trainer",
    "environment.digests.data", "features.cached",
)  # fmt: skip


def check_folders(folders: Iterable[Path]) -> None:
    """Raise a ValueError unless each folder has a finished run and its weights."""
    for folder in folders:
        weights_path(folder, finished_results(folder))


def finished_results(folder: Path) -> dict[str, Any]:
    """Return the content of a run's results.json.

    Raises:
        ValueError: There is no such folder, or no finished run in it.
    """
    if not folder.is_dir():
        raise ValueError(f"Expected the folder of a finished run, {folder} is no folder.")
    if (folder / "results.json").is_file():
        return read_results(folder / "results.json", NEEDED)
    if (folder / "config.yaml").is_file():
        raise ValueError(
            f"The run in {folder} is unfinished, since it has no results.json. Resume it first: start it again with "
            "the same settings."
        )
    raise ValueError(f"Expected the folder of a finished run, {folder} has no results.json. Give the run's own folder.")


def weights_path(folder: Path, results: Mapping[str, Any]) -> Path:
    """Return the checkpoint whose weights a run's accuracy is of.

    Args:
        folder: The run's folder.
        results: The content of its results.json.

    Raises:
        ValueError: There is no such file.
    """
    best = results["protocol"]["accuracy_of"] == "best validation epoch"
    path = folder / "checkpoints" / ("best.ckpt" if best else "last.ckpt")
    if not path.is_file():
        raise ValueError(
            f"Expected the weights of the run in {path}, there is no such file. Put it back if you have a copy, or "
            "train the run anew with force=true."
        )
    return path
