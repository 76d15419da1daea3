"""A whole search with real training, its report, and the training command that it prints."""

from __future__ import annotations

import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, *line: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "brain_tumor_tl", *line],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1800,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def best_value(folder: Path) -> float:
    """Return the best validation accuracy of a run."""
    with (folder / "metrics.csv").open(newline="") as file:
        return max(float(row["val/accuracy"]) for row in csv.DictReader(file))


@pytest.mark.slow
def test_search__trains_and_its_best_command_gives_the_same(tmp_path: Path, small_job: list[str]) -> None:
    space = ("optimizer.lr=tag(log,interval(1e-4,1e-1))", "search.trials=3")
    out = run(tmp_path, "search", *small_job, "method=frozen", "data.val_fraction=0.2", "trainer.max_epochs=2", *space)

    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert sweep.name.startswith("search-lr-")
    runs = {path.parent: json.loads(path.read_text()) for path in sweep.rglob("results.json")}
    assert len(runs) == 3
    assert {results["protocol"]["best_chosen_on"] for results in runs.values()} == {"val"}
    best = max(best_value(folder) for folder in runs)
    chosen = next(folder for folder in runs if f"in {folder.relative_to(tmp_path)}\n" in out)
    assert best_value(chosen) == best
    accuracy = runs[chosen]["accuracy"]
    assert f"val/accuracy {best:.4f}, test accuracy {100 * accuracy:.2f} %" in out
    assert "3 of 3 runs done" in out
    assert {"report.html", "report.md", "report.csv", "search.journal"} <= {path.name for path in sweep.iterdir()}

    (command,) = [line.removeprefix("Next ").strip() for line in out.splitlines() if line.startswith("Next ")]
    run(tmp_path, *shlex.split(command)[1:])

    (again,) = (tmp_path / "outputs" / "runs").rglob("results.json")
    repeated = json.loads(again.read_text())
    assert repeated["confusion_matrix"] == runs[chosen]["confusion_matrix"]
    assert best_value(again.parent) == best
