"""Audit: what is wrong with a data set before anything is trained on it; findings in JSON, CSV and a page."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.progress import track

from brain_tumor_tl import files
from brain_tumor_tl.cli.checks import check
from brain_tumor_tl.console import console, log, run_log
from brain_tumor_tl.data.index import printable, read_index
from brain_tumor_tl.data.leakage import survey
from brain_tumor_tl.data.leakage.copies import DETAIL, TURNS, Pair, find_copies
from brain_tumor_tl.data.leakage.file_info import FileInfo, load_file_info
from brain_tumor_tl.data.leakage.overlap import overlap
from brain_tumor_tl.data.leakage.shortcuts import has_scikit_learn
from brain_tumor_tl.data.sources.phantom import NOTICE_FILE
from brain_tumor_tl.reporting.audit_page import audit_page, summary_lines
from brain_tumor_tl.run import record
from brain_tumor_tl.run.factory import provide

SCHEMA = 1  # of audit.json; raise it when a key changes its meaning
SHOWN = 16  # pairs on either side of the threshold that the page shows


def run(config: DictConfig, other: str | None, out: str) -> int:
    """Audit the images of a configuration; return the exit status, 0 whatever was found.

    Args:
        config: A whole configuration, of which `data` is used.
        other: Folder of a second data set of the same classes, None for none.
        out: Folder for what is found.
    """
    with run_log(None):
        try:
            check(config)
            audit(config, Path(other).expanduser() if other else None, Path(out).expanduser())
        except (ValueError, OSError, ImportError, OmegaConfBaseException) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            return 130  # 128 + SIGINT, as shells have it
    return 0


def audit(config: DictConfig, other: Path | None, out: Path) -> dict[str, Any]:
    """Audit a data set, write `audit.json`, `duplicates.csv` and `audit.html`, and return what the first holds.

    Args:
        config: A whole configuration, of which `data` is used.
        other: Folder of a second data set.
        out: Folder for the files.

    Raises:
        ValueError: A folder's layout is not known, or no image can be read.
        OSError: A folder is absent or can't be written to.
    """
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    provide(config)
    cache = Path(config.data.cache_dir).expanduser()
    facts = read_facts(config, Path(config.data.root), cache)
    surveyed = survey.Surveyed(facts, find_copies(facts, cache))
    second = read_facts(config, other, cache) if other else None
    findings = found(surveyed, config)
    findings["overlap"] = overlap(facts, second, cache) if second else None
    files.write_json(out / "audit.json", findings)
    files.write_csv(out / "duplicates.csv", survey.copy_rows(surveyed))
    page = audit_page(findings, facts.thumbnails, second.thumbnails if second else None)
    files.write_text(out / "audit.html", page)
    for line in summary_lines(findings):
        log.info(line)
    log.info(f"Done in {time.perf_counter() - started:.0f} s: {', '.join(str(out / name) for name in FILES)}")
    return findings


FILES = ("audit.html", "audit.json", "duplicates.csv")


def read_facts(config: DictConfig, root: Path, cache: Path) -> FileInfo:
    """Return what each file of a folder is.

    Raises:
        ValueError: There is no image that can be read.
    """
    classes: Any = OmegaConf.to_container(config.data.classes)
    facts = load_file_info(read_index(root, classes), cache)
    if not len(facts.index):
        raise ValueError(f"Expected images that can be read in {root}, all {len(facts.index.bad)} files are bad.")
    return facts


def found(surveyed: survey.Surveyed, config: DictConfig) -> dict[str, Any]:
    """Return what `audit.json` holds, but for the overlap with a second set."""
    index, data = surveyed.index, config.data
    least, not_quite = survey.shown_pairs(surveyed, SHOWN)
    if not has_scikit_learn():
        log.warning("Shortcuts are not measured, scikit-learn is not installed: pip install 'brain_tumor_tl[audit]'.")
    names = survey.possible_splits(index)
    splits = survey.split_findings(surveyed, names, data.test_fraction, data.stratify, has_scikit_learn())
    return {
        "schema": SCHEMA,
        "root": printable(str(index.root)),
        "digest": index.digest(),
        "synthetic": (index.root / NOTICE_FILE).is_file(),
        "contents": survey.contents(surveyed.facts),
        "unreadable": [[printable(path), reason] for path, reason in index.bad],
        "stray": survey.stray_files(index),
        "copies": {"threshold": DETAIL, **survey.copy_counts(surveyed)},
        "conflicts": survey.conflicts(surveyed),
        "splits": list(track(splits, "Measuring splits", len(names), console=console, transient=True)),
        "runs": survey.run_counts(surveyed),
        "shown": {"least": told(least, index.paths), "not_quite": told(not_quite, index.paths)},
        "paths": [printable(path) for path in index.paths],
        "labels": np.asarray(index.labels).tolist(),
        "environment": record.environment(),
    }


def told(pairs: Sequence[Pair], paths: Sequence[str]) -> list[dict[str, Any]]:
    """Return pairs as JSON values."""
    return [{**pair._asdict(), "turn": TURNS[pair.turn], "name": printable(paths[pair.second])} for pair in pairs]
