"""GPU grid: the study's seven networks by both methods, 100 epochs each, on one GPU.

    python benchmarks/gpu_grid.py --epochs 100 --json gpu_grid.json

It runs `brain-tumor-tl train --config-name grid` with random weights and shows the seconds of an epoch beside those of
the study's Table 1, whose machine is not named. Without a CUDA device it ends with status 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import child, images, measure
from brain_tumor_tl.reporting.study import row_for


def run_grid(options: Any, root: Path, work: Path) -> tuple[list[Path], float]:
    """Run the whole sweep; return the runs' folders and the seconds in all."""
    line = [sys.executable, "-m", "brain_tumor_tl", "train", "--config-name", "grid"]
    line += [f"hydra.sweep.dir={work / 'grid'}", f"model={','.join(options.models)}"]
    line += [f"method={','.join(options.methods)}", "model.weights=null", "data=folder", f"data.root={root}"]
    line += [f"data.image_size={options.image_size}", f"data.batch_size={options.batch_size}"]
    line += [f"data.cache_dir={work / 'cache'}", f"trainer={options.trainer}", f"trainer.max_epochs={options.epochs}"]
    finished = child.run([*line, *options.set])
    return sorted(path.parent for path in (work / "grid").glob("*/results.json")), finished.seconds


def row_of(folder: Path) -> dict[str, Any]:
    """Return a run's row, beside the study's seconds of an epoch where it has that network."""
    results = child.read(folder, "results.json")
    rows = child.steady(child.epochs(folder))
    parts = {part: measure.spread(row[f"seconds/{part}"] for row in rows).median for part in ("train", "test")}
    epoch = sum(parts.values())
    study = (row_for(results["model"], results["method"]) or {}).get("seconds_per_epoch")
    return {
        "model": results["model"],
        "method": results["method"],
        "s an epoch": epoch,
        "of it train": parts["train"],
        "of it test": parts["test"],
        "the study's": study,
        "times the study's speed": None if study is None else study / epoch,
        "s of the run": results["seconds_total"],
    }


def total(rows: Sequence[dict[str, Any]], seconds: float, epochs: int) -> dict[str, Any]:
    """Return the last row: everything, process start included, beside the study's seconds of an epoch x epochs."""
    theirs = [row["the study's"] for row in rows if row["the study's"] is not None]
    study = epochs * sum(theirs) if len(theirs) == len(rows) else None
    return {
        "model": f"all {len(rows)}",
        "method": f"{epochs} epochs each",
        **dict.fromkeys(("s an epoch", "of it train", "of it test")),
        "the study's": study,
        "times the study's speed": None if study is None else study / seconds,
        "s of the run": seconds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid, print the table; 2 where there is no GPU."""
    options = measure.options(
        __doc__, arguments, ("trainer", "gpu", "`gpu`, or `cpu` to try the program out"),
        data=None, images=3264, image_size=224, batch_size=32, epochs=100, models=measure.SEVEN,
        methods=["frozen", "finetune"],
    )  # fmt: skip
    if options.trainer == "gpu" and not torch.cuda.is_available():
        print("Expected a CUDA device, PyTorch sees none: the grid's figures are GPU figures.", file=sys.stderr)
        return 2
    facts = measure.surroundings()
    with images.work_folder() as work:
        root = images.provided(options.data, options.images, options.image_size, work)
        folders, seconds = run_grid(options, root, work)
        rows = [row_of(folder) for folder in folders]
    expected = len(options.models) * len(options.methods)
    if len(rows) != expected:
        raise RuntimeError(f"Expected {expected} finished runs, found {len(rows)}.")
    measure.report("The study's grid", [*rows, total(rows, seconds, options.epochs)], options, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
