"""Predict: finished runs applied to pictures, as a table, CSV or JSON lines."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brain_tumor_tl.cli.outcome import exit_status
from brain_tumor_tl.cli.parser import Parser
from brain_tumor_tl.cli.pictures import check_places, named_pictures, progress_bar
from brain_tumor_tl.cli.prediction_table import print_table
from brain_tumor_tl.console import say
from brain_tumor_tl.files import write_csv
from brain_tumor_tl.inference.run_folder import check_folders
from brain_tumor_tl.reporting.discover import holds_run
from brain_tumor_tl.reporting.notice import NOTICE

if TYPE_CHECKING:
    from brain_tumor_tl.inference.predict import Predictions
    from brain_tumor_tl.inference.trained_run import TrainedRun

Row = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Predict the pictures that the line names; return the exit status, 1 if one can't be read."""
    options = parse(arguments)
    return exit_status(lambda: predict(options), "Interrupted; no table was written.")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed line: `runs`, `places`, and the flags; exit with 2 if it is wrong by itself."""
    parser = Parser("predict")
    parser.add_argument("words", nargs="*", type=Path)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--jsonl", action="store_true")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--explain", type=Path)
    parser.add_argument("--tta", action="store_true")
    parser.add_argument("--rank-labels", action="store_true")
    parser.add_device()
    parser.add_argument("--precision", default="auto", choices=("auto", "32-true", "bf16-mixed", "16-mixed"))
    options = parser.parse_intermixed_args(arguments)
    words = [word.expanduser() for word in options.words]
    count = next((place for place, word in enumerate(words) if place and not holds_run(word)), len(words))
    options.runs, options.places = words[:count], words[count:]
    if not options.runs:
        parser.error("expected the folder of a finished run, such as outputs/runs/NAME, and pictures, got none")
    if not options.places:
        parser.error(f"expected pictures or folders of pictures after {options.runs[-1]}, or - for a list on stdin")
    if options.csv and options.jsonl:
        parser.error("expected one of --csv and --jsonl, got both")
    if options.features and len(options.runs) > 1:
        parser.error(f"expected one run for --features, got {len(options.runs)}, each with features of its own")
    if options.explain and len(options.runs) > 1:
        parser.error(f"expected one run for --explain, got {len(options.runs)}: a map is of one network")
    if options.rank_labels and (len(options.places) > 1 or not options.places[0].is_dir() or options.jsonl):
        parser.error("expected one folder with class folders for --rank-labels, and --csv FILE or no file")
    check_places(parser, options.places)
    for path in (options.csv, options.features):
        if path is not None and not path.parent.is_dir():
            parser.error(f"the folder of {path} doesn't exist")
    return options


def predict(options: argparse.Namespace) -> int:
    """Predict and show or write what the options ask for; return the exit status."""
    check_folders(options.runs)
    from brain_tumor_tl.inference.answers import keeping_features, ranked, rows  # imports torch
    from brain_tumor_tl.inference.ensemble import load_runs
    from brain_tumor_tl.inference.explain import check_run
    from brain_tumor_tl.inference.predict import predict_batches

    runs = load_runs(options.runs, options.device, options.precision)
    if options.explain:
        check_run(runs[0], None)
    labels: dict[str, str] = {}
    if options.rank_labels:
        pictures, labels = labelled_pictures(runs, options.places[0])
    else:
        pictures = named_pictures(options, runs[0].slices)
    batches = with_progress(predict_batches(runs, pictures, options.tta), len(pictures))
    if options.features:
        batches = keeping_features(batches, options.features, len(pictures))
    tally, found = Counter[str](), rows(runs, pictures, batches)
    put_out(counted(ranked(found, labels) if labels else found, tally), options, runs[0])
    if options.explain:
        from brain_tumor_tl.cli.explain import explained

        explained(runs[0], pictures, options.explain)
    summarize(tally, runs, options)
    return 1 if tally["problem"] else 0


def put_out(found: Iterable[Row], options: argparse.Namespace, run: TrainedRun) -> None:
    """Write rows as they are computed: as CSV, as JSON lines or as a table on the terminal."""
    from brain_tumor_tl.data.reader import refusing_bombs
    from brain_tumor_tl.inference.answers import columns, json_line  # imports torch

    with refusing_bombs():
        if options.csv:
            write_csv(options.csv, found, columns(run.classes, options.rank_labels, list(run.superclasses or ())))
        elif options.jsonl:
            for row in found:
                print(json_line(row, run.classes))
        else:
            print_table(found, run.classes)


def labelled_pictures(runs: Sequence[TrainedRun], root: Path) -> tuple[list[Path], dict[str, str]]:
    """Return the pictures of a folder with class folders, unreadable ones last, and the class of the others by path.

    Raises:
        ValueError: It has no class folders that the runs know.
    """
    from brain_tumor_tl.data.index import read_index, shortened
    from brain_tumor_tl.data.layout import printable

    given = runs[0].results["config"]["data"].get("classes") or [[name] for name in runs[0].classes]
    index = read_index(root, given, every_class=False, slices=runs[0].slices)
    if index.left_out:
        classes = "; ".join(", ".join(names) for names in given)
        print(
            f"Warning   pictures in {shortened(index.left_out)} are left out, since these are no classes of the run: "
            f"{printable(classes)}",
            file=sys.stderr,
        )
    pictures, bad = ([index.root / path for path in paths] for paths in (index.paths, dict(index.bad)))
    names = [index.classes[label] for label in index.labels]
    return pictures + bad, dict(zip(map(printable, map(str, pictures)), names, strict=True))


def with_progress(batches: Iterable[Predictions], count: int) -> Iterator[Predictions]:
    """Yield batches, with a progress bar."""
    with progress_bar("Predicting", count) as bar:
        for batch in batches:
            yield batch
            bar.advance(bar.task_ids[0], len(batch.problems))


def counted(found: Iterable[Row], tally: Counter[str]) -> Iterator[Row]:
    """Yield rows and count the predicted classes, problems and pictures unlike the training images."""
    for row in found:
        tally["all"] += 1
        tally["problem" if row["problem"] else f"class {row['predicted']}"] += 1
        tally["unlike"] += row.get("unlike_training", 0)
        yield row


def some(count: int) -> str:
    """Return a number of pictures with its verb.

    >>> some(1), some(2)
    ('1 is', '2 are')
    """
    return f"{count} {'is' if count == 1 else 'are'}"


def summarize(tally: Counter[str], runs: Sequence[TrainedRun], options: argparse.Namespace) -> None:
    """Print the counts and what to know about them, to stderr if stdout has the rows."""
    predicted = [f"{count} {key.removeprefix('class ')}" for key, count in sorted(tally.items()) if "class " in key]
    lines = [f"Pictures  {tally['all']}: {', '.join(predicted) or 'none could be read'}"]
    if options.csv:
        lines.append(f"Written   {options.csv}")
    if options.explain:
        lines.append(f"Written   overlays of Grad-CAM in {options.explain}")
    for run in runs:
        if (own := (run.results.get("environment") or {}).get("precision")) not in (None, run.precision):
            lines.append(
                f"Warning   {run.folder.name} was tested in {own}: in {run.precision} its accuracy may be another"
            )
    if options.rank_labels:
        lines.append(
            "Warning   a run is too sure of labels that it was trained on; `report` on a cross-validation is not"
        )
    if tally["unlike"]:
        lines.append(f"Warning   {some(tally['unlike'])} unlike the training images: such predictions mean little")
    if tally["problem"]:
        lines.append(f"Warning   {tally['problem']} can't be read: see the column problem")
    if without := [run.folder.name for run in runs if run.reference is None]:
        whose = "the run" if len(runs) == 1 else ", ".join(without)
        lines.append(
            f"Warning   no distance to the training images: {whose} kept nothing of them; train it anew for one"
        )
    for line in [*lines, NOTICE]:
        print(line, file=sys.stderr) if options.jsonl else say(line)
