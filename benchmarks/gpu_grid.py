"""GPU grid: the study's seven networks with both methods, 100 epochs each, on one GPU.

    python benchmarks/gpu_grid.py --epochs 100 --json gpu_grid.json

It runs `brain-tumor-tl train --config-name grid` with random weights and shows the seconds per epoch beside those of
the study's Table 1, whose machine is not named. Without a CUDA device the exit status is 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import child, images, measure
from brain_tumor_tl.files import read_json
from brain_tumor_tl.reporting.study import row_for


def run_grid(options: Any, root: Path, work: Path) -> tuple[list[Path], float]:
    """Run the whole sweep; return the run folders and the total seconds."""
    line = [sys.executable, "-m", "brain_tumor_tl", "train", "--config-name", "grid"]
    line += [f"hydra.sweep.dir={work / 'grid'}", f"model={','.join(options.models)}"]
    line += [f"method={','.join(options.methods)}", "model.weights=null", "data=folder", f"data.root={root}"]
    line += [f"data.image_size={options.image_size}", f"data.batch_size={options.batch_size}"]
    line += [f"data.cache_dir={work / 'cache'}", f"trainer={options.trainer}", f"trainer.max_epochs={options.epochs}"]
    line += ["trainer.cuda_graphs=auto"]
    finished = child.run([*line, *options.set])
    return sorted(path.parent for path in (work / "grid").glob("*/results.json")), finished.seconds


def row_of(folder: Path) -> dict[str, Any]:
    """Return a run's row, with the study's seconds per epoch if it has that network."""
    results = read_json(folder / "results.json")
    rows = child.steady(child.epochs(folder))
    seconds = {name: measure.spread(row[f"seconds/{name}"] for row in rows).median for name in ("train", "test")}
    epoch = sum(seconds.values())
    study = (row_for(results["model"], results["method"]) or {}).get("seconds_per_epoch")
    return {
        "model": results["model"],
        "method": results["method"],
        "s per epoch": epoch,
        "of which train": seconds["train"],
        "of which test": seconds["test"],
        "the study's": study,
        "times the study's speed": None if study is None else study / epoch,
        "s of the run": results["seconds_total"],
    }


def total(rows: Sequence[dict[str, Any]], seconds: float, epochs: int) -> dict[str, Any]:
    """Return the last row: the whole grid with process starts, beside the study's seconds per epoch times epochs."""
    theirs = [row["the study's"] for row in rows if row["the study's"] is not None]
    study = epochs * sum(theirs) if len(theirs) == len(rows) else None
    return {
        "model": f"all {len(rows)}",
        "method": f"{epochs} epochs each",
        **dict.fromkeys(("s per epoch", "of which train", "of which test")),
        "the study's": study,
        "times the study's speed": None if study is None else study / seconds,
        "s of the run": seconds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid and print the table; return 2 if there is no GPU."""
    options = measure.options(
        __doc__, arguments, ("trainer", "gpu", "`gpu`, or `cpu` to try the program out"),
        data=None, images=3264, image_size=224, batch_size=32, epochs=100, models=measure.SEVEN,
        methods=["frozen", "finetune"],
    )  # fmt: skip
    if options.trainer == "gpu" and not torch.cuda.is_available():
        print("Expected a CUDA device, but PyTorch finds none; this benchmark measures GPUs.", file=sys.stderr)
        return 2
    environment = measure.environment()
    with images.work_folder() as work:
        root = images.provided(options.data, options.images, options.image_size, work)
        folders, seconds = run_grid(options, root, work)
        rows = [row_of(folder) for folder in folders]
    expected = len(options.models) * len(options.methods)
    if len(rows) != expected:
        raise RuntimeError(f"Expected {expected} finished runs, found {len(rows)}.")
    measure.report("The study's grid", [*rows, total(rows, seconds, options.epochs)], options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
