"""Report: the results of finished runs as one table, read from their folders alone."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from brain_tumor_tl.evidence.console import console
from brain_tumor_tl.evidence.record import SCHEMA, read_json, write_csv
from brain_tumor_tl.evidence.tables import summary_table


def main(arguments: Sequence[str]) -> int:
    """Print the table of all finished runs below some folders; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        runs = find_runs(options.folders)
        console.print(summary_table(runs))
        if options.csv:
            write_csv(options.csv, [flat_row(run) for run in runs])
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        return 1
    return 0


def refresh(folder: Path) -> None:
    """Write the table of a sweep's finished runs to `report.csv` in its folder; the launcher calls it after each job.

    Args:
        folder: The sweep's folder.
    """
    if any(folder.rglob("results.json")):
        write_csv(folder / "report.csv", [flat_row(run) for run in find_runs([folder])])


def parser() -> argparse.ArgumentParser:
    """Return the parser of the verb's line."""
    result = argparse.ArgumentParser("brain-tumor-tl report", description=__doc__)
    result.add_argument("folders", nargs="+", type=Path, help="run folders, or folders that hold some at any depth")
    result.add_argument("--csv", type=Path, help="write the table to this file too, fractions in place of percent")
    return result


def find_runs(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the results of every finished run below some folders.

    Raises:
        ValueError: A folder is absent, there is no finished run below any, or another program wrote a file.
    """
    absent = [str(folder) for folder in folders if not folder.is_dir()]
    if absent:
        raise ValueError(f"Expected folders of runs, these are none: {', '.join(absent)}.")
    files = sorted({path for folder in folders for path in folder.rglob("results.json")})
    if not files:
        raise ValueError(
            f"Expected a finished run (a results.json) below {', '.join(map(str, folders))}, found none. "
            "brain-tumor-tl train makes one."
        )
    runs = [read_json(path) for path in files]
    strange = [str(path) for path, run in zip(files, runs, strict=True) if run.get("schema") != SCHEMA]
    if strange:
        raise ValueError(
            f"Expected results of this version (schema {SCHEMA}), got others in {', '.join(strange)}. "
            "Name the folders of the runs alone."
        )
    return runs


def flat_row(run: dict[str, Any]) -> dict[str, Any]:
    """Return a run as one row of a CSV file."""
    columns = (
        "name",
        "model",
        "method",
        "seed",
        "epochs",
        "accuracy",
        "best_accuracy",
        "best_epoch",
        "macro_f1",
    )
    seconds = {f"seconds_per_epoch_{part}": value for part, value in run["seconds_per_epoch"].items()}
    return {column: run[column] for column in columns} | seconds | {"protocol": run["protocol"]["text"]}
