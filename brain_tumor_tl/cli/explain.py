"""Explain: where a finished run's network looks in pictures, as overlays of Grad-CAM and a table."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from brain_tumor_tl.cli.outcome import exit_status
from brain_tumor_tl.cli.parser import Parser
from brain_tumor_tl.cli.pictures import check_places, named_pictures, progress_bar
from brain_tumor_tl.cli.prediction_table import common_folder
from brain_tumor_tl.console import console, say
from brain_tumor_tl.files import write_csv
from brain_tumor_tl.inference.run_folder import check_folders
from brain_tumor_tl.reporting.discover import holds_run
from brain_tumor_tl.reporting.notice import NOTICE
from brain_tumor_tl.reporting.table import compact_table

Row = Mapping[str, Any]
OUT = Path("outputs", "explain")
TABLE = "explanations.csv"  # beside the overlays
EVERY = "all"  # the class that stands for all
SHOWN = 40  # rows of the table on the terminal


def main(arguments: Sequence[str]) -> int:
    """Explain the pictures that the line names; return the exit status, 1 if one can't be read."""
    options = parse(arguments)
    return exit_status(
        lambda: explain(options), f"Interrupted; the overlays so far are in {options.out}, their table is not written."
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed line: `runs` with one folder, `places`, and the flags; exit with 2 if it is wrong by itself."""
    parser = Parser("explain")
    parser.add_argument("words", nargs="*", type=Path)
    parser.add_argument("--class", dest="classes", action="append")
    parser.add_argument("--faithfulness", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_device()
    options = parser.parse_intermixed_args(arguments)
    words = [word.expanduser() for word in options.words]
    options.runs, options.places = words[:1], words[1:]
    if not words:
        parser.error("expected the folder of a finished run, such as outputs/runs/NAME, and pictures, got none")
    if not options.places:
        parser.error(f"expected pictures or folders of pictures after {words[0]}, or - for a list on stdin")
    if holds_run(options.places[0]):
        parser.error(f"expected one run, got {words[0]} and {words[1]}: a map is of one network, explain them in turn")
    check_places(parser, options.places)
    if options.out.exists() and not options.out.is_dir():
        parser.error(f"expected --out to be a folder, {options.out} is a file")
    return options


def explain(options: argparse.Namespace) -> int:
    """Write what the options ask for, and show it; return the exit status."""
    check_folders(options.runs[:1])
    from brain_tumor_tl.inference.trained_run import TrainedRun  # imports torch

    run = TrainedRun(options.runs[0], options.device)
    classes = run.classes if options.classes == [EVERY] else options.classes
    found = explained(run, named_pictures(options, run.slices), options.out, classes, options.faithfulness)
    show(found, options.out)
    return 1 if any(row["problem"] for row in found) else 0


def explained(
    run: Any, pictures: Sequence[Path], out: Path, classes: Sequence[str] | None = None, faithfulness: bool = False
) -> list[Row]:
    """Write overlays of pictures and their table into a folder; return the rows of the table.

    Args:
        run: A TrainedRun.
        pictures: Their paths; those in `out`, of an earlier call, are left out.
        out: The folder.
        classes: The classes to explain; None for the one that is predicted for each picture.
        faithfulness: Whether to measure the faithfulness of each map.
    """
    from brain_tumor_tl.data.reader import refusing_bombs
    from brain_tumor_tl.inference.explain import check_run
    from brain_tumor_tl.inference.overlay_files import COLUMNS, write_overlays  # imports torch

    check_run(run, classes)
    place = out.resolve()
    pictures = [path for path in pictures if not path.resolve().is_relative_to(place)]
    out.mkdir(parents=True, exist_ok=True)
    found: list[Row] = []
    with refusing_bombs():
        rows = write_overlays(run, pictures, out, classes, faithfulness)
        write_csv(out / TABLE, with_progress(rows, found, len(pictures)), COLUMNS)
    return found


def with_progress(rows: Iterable[Row], found: list[Row], count: int) -> Iterator[Row]:
    """Yield rows and keep them in `found`, with a progress bar.

    Args:
        rows: One or several for each picture.
        found: A list.
        count: Number of pictures.
    """
    with progress_bar("Explaining", count) as bar:
        for row in rows:
            if not found or found[-1]["path"] != row["path"]:
                bar.advance(bar.task_ids[0])
            found.append(row)
            yield row


def show(found: Sequence[Row], out: Path) -> None:
    """Print the first rows as a table, and below what was written and what to know about it."""
    base = common_folder([row["path"] for row in found[:SHOWN]])
    headers = ["picture", "explained", "%", "predicted", "faithfulness", "warning"]
    more = [f"and {len(found) - SHOWN} more; {out / TABLE} has all"] if len(found) > SHOWN else []
    lines = [cells(row, base) for row in found[:SHOWN]]
    console.print(compact_table(f"Pictures in {base}" if base else "", headers, lines, more))
    scores = [row["faithfulness"] for row in found if row.get("faithfulness") is not None]
    if scores:
        say(f"Faithful  {sum(scores) / len(scores):+.2f} on average of {len(scores)} maps; 0 is a map without meaning")
    say(f"Written   {len({row['overlay'] for row in found if 'overlay' in row})} overlays and {TABLE} in {out}")
    if bad := sum(bool(row["problem"]) for row in found):
        say(f"Warning   {bad} can't be read: see the column problem")
    say(f"A map shows what the network used, not where a tumour is. {NOTICE}")


def cells(row: Row, base: str) -> list[str]:
    """Return a row of the table on the terminal, with the path below a folder."""
    path = os.path.relpath(row["path"], base) if base else row["path"]
    if row["problem"]:
        return [path, "", "", "", "", row["problem"]]
    score = row["faithfulness"]
    return [
        path,
        row["class"],
        f"{100 * row['probability']:.1f}",
        "yes" if row["class"] == row["predicted"] else row["predicted"],
        "" if score is None else f"{score:+.2f}",
        "" if row["largest"] > 0 else "no place adds to this class",
    ]
