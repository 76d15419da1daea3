"""Audit: the faults of a data set, found before anything is trained on it, as JSON, CSV and a page."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.progress import track

from brain_tumor_tl import files
from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.command import checked_line
from brain_tumor_tl.cli.help import composed
from brain_tumor_tl.cli.mistakes import explain
from brain_tumor_tl.cli.outcome import exit_status
from brain_tumor_tl.console import console, log
from brain_tumor_tl.data.index import BadFilesError, read_index
from brain_tumor_tl.data.intensity import Intensity, describe_intensity, find_intensity, uses_own_window
from brain_tumor_tl.data.layout import printable
from brain_tumor_tl.data.leakage import survey
from brain_tumor_tl.data.leakage.copies import DETAIL, Pair, find_copies
from brain_tumor_tl.data.leakage.file_info import FileInfo, load_file_info
from brain_tumor_tl.data.leakage.overlap import COLUMNS, overlap
from brain_tumor_tl.data.leakage.search import TURNS
from brain_tumor_tl.data.leakage.shortcuts import has_scikit_learn
from brain_tumor_tl.data.patients import AUTO, Patients
from brain_tumor_tl.data.sources.phantom import NOTICE_FILE
from brain_tumor_tl.data.splits.protocol import Protocol
from brain_tumor_tl.data.table import apply_tables
from brain_tumor_tl.reporting.audit_page import audit_page, summary_lines
from brain_tumor_tl.run import record

Settings = Mapping[str, Any]
SCHEMA = 2  # of audit.json; raise it when a key changes its meaning
SHOWN = 16  # pairs just above and just below the threshold that the page shows
FILES = ("audit.html", "audit.json", "copies.csv")
OVERLAP = "overlap.csv"  # one more with a second data set


def main(arguments: Sequence[str]) -> int:
    """Audit the images that the line names; return the exit status, 0 whatever was found."""
    mine = [argument for argument in arguments if argument.startswith(("other=", "out="))]
    paths = {key: Path(value).expanduser() for key, _, value in (line.partition("=") for line in mine) if value}
    if flags := [argument for argument in arguments if argument.startswith("-")]:
        print(f"`audit` has no flag `{flags[0]}`; `brain-tumor-tl audit --help` explains it.", file=sys.stderr)
        return 2
    overrides = checked_line([argument for argument in arguments if argument not in mine])
    if not any(line.startswith(("data=", "data.root=")) for line in overrides):
        print("Expected images to audit: give data.root=PATH, or data=kaggle for the study's.", file=sys.stderr)
        return 2
    return exit_status(lambda: audit_as_told(overrides, paths.get("other"), paths.get("out", Path("outputs", "audit"))))


def audit_as_told(overrides: Sequence[str], other: Path | None, out: Path) -> int:
    """Audit what the overrides name; return the exit status, 2 if they can't be composed; see `audit`."""
    try:
        settings = checked_settings(composed(list(overrides)))
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error)}", file=sys.stderr)
        return 2
    audit(settings["data"], other, out)
    return 0


def audit(data: Settings, other: Path | None, out: Path) -> None:
    """Audit a data set, and write `audit.json`, `copies.csv`, `audit.html` and perhaps `overlap.csv`.

    Args:
        data: The table `data` of a configuration.
        other: Folder of a second data set of the same classes; None for none.
        out: Folder for the files.

    Raises:
        ValueError: The layout of a folder is unknown, or no image can be read.
        OSError: A folder is absent or can't be written to.
    """
    from brain_tumor_tl.run.factory import provide  # imports torch

    started = time.perf_counter()
    provide(data)
    cache = Path(data["cache_dir"]).expanduser()
    first = read_data_set(Path(data["root"]), data, cache, data["labels"], data["patients"])
    known = data["patients"] and AUTO  # a table of patients or labels is of the folder that `data` names
    second = read_data_set(other, data, cache, None, known) if other else None
    out.mkdir(parents=True, exist_ok=True)
    surveyed = survey.Surveyed(first.info, find_copies(first.info, cache), first.patients)
    intensity = {**first.intensity, "in_words": describe_intensity(first.intensity, len(first.info.index))}
    findings = findings_of(surveyed, data) | {"intensity": intensity}
    written = list(FILES)
    if second:
        findings["overlap"] = overlap(first.info, second.info, cache, (first.patients, second.patients))
        files.write_csv(out / OVERLAP, findings["overlap"]["shared"], COLUMNS)
        written.append(OVERLAP)
    files.write_json(out / "audit.json", findings)
    files.write_csv(out / "copies.csv", survey.copy_rows(surveyed))
    others = second.info.thumbnails if second else None
    files.write_text(out / "audit.html", audit_page(findings, first.info.thumbnails, others))
    for line in summary_lines(findings):
        log.info(line)
    log.info(f"Done in {time.perf_counter() - started:.0f} s: {', '.join(str(out / name) for name in written)}")


class DataSet(NamedTuple):
    """What was read of a folder of images.

    Attributes:
        info: Properties of its files.
        patients: Its patients, None if none is known.
        intensity: What was done with the images of more than 8 bits.
    """

    info: FileInfo
    patients: Patients | None
    intensity: Intensity


def read_data_set(root: Path, data: Settings, cache: Path, labels: str | None, patients: str | None) -> DataSet:
    """Read all images below a folder, or load from the cache what was read of them.

    Args:
        root: The folder.
        data: The table `data` of the configuration, which names the classes and the rule of intensities.
        cache: Folder of the cache.
        labels: CSV file whose labels replace those of the folders.
        patients: As `data.patients`.

    Raises:
        ValueError: No image can be read, or a table doesn't fit the images.
    """
    table = None if labels is None else Path(labels).expanduser()
    index = read_index(root, data["classes"], by_table=table is not None, slices=data["slices"])
    intensity = find_intensity(index, data["intensity"])
    info = load_file_info(index, cache, intensity["window"], uses_own_window(intensity["rule"]))
    if not len(info.index):
        raise BadFilesError(index.root, info.index.bad)
    index, known = apply_tables(info.index, data["classes"], table, patients, data["merge_scans"])
    return DataSet(replace(info, index=index), known, intensity)


def findings_of(surveyed: survey.Surveyed, data: Settings) -> dict[str, Any]:
    """Return what `audit.json` holds, without a second data set."""
    index = surveyed.index
    least, not_quite = survey.shown_pairs(surveyed, SHOWN)
    if not has_scikit_learn():
        log.warning("Shortcuts are not measured: scikit-learn is missing, pip install 'brain_tumor_tl[audit]'.")
    names = survey.possible_splits(surveyed, data["split"])
    settings = Protocol(**{field.name: data[field.name] for field in fields(Protocol)})
    splits = survey.split_findings(surveyed, names, settings, has_scikit_learn())
    return {
        "schema": SCHEMA,
        "root": printable(str(index.root)),
        "digest": index.digest(),
        "synthetic": (index.root / NOTICE_FILE).is_file(),
        "contents": survey.contents(surveyed.info),
        "unreadable": [[printable(path), reason] for path, reason in index.bad],
        "stray": survey.stray_files(index),
        "folders_left_out": [printable(name) for name in index.left_out],
        "copies": {"threshold": DETAIL, **survey.copy_counts(surveyed)},
        "conflicts": survey.conflicts(surveyed),
        "splits": list(track(splits, "Measuring splits", len(names), console=console, transient=True)),
        "series": survey.series_counts(surveyed),
        "patients": survey.patient_counts(surveyed),
        "shown": {"least": as_json(least, index.paths), "not_quite": as_json(not_quite, index.paths)},
        "paths": [printable(path) for path in index.paths],
        "labels": np.asarray(index.labels).tolist(),
        "environment": record.environment(),
        "overlap": None,
    }


def as_json(pairs: Sequence[Pair], paths: Sequence[str]) -> list[dict[str, Any]]:
    """Return pairs as JSON values."""
    return [{**pair._asdict(), "turn": TURNS[pair.turn], "name": printable(paths[pair.second])} for pair in pairs]
