"""Report: the results of runs and the study's, read from the runs' folders, at any time."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from brain_tumor_tl.cli.outcome import exit_status
from brain_tumor_tl.cli.parser import Parser
from brain_tumor_tl.cli.run_page import write_missing_pages, write_single
from brain_tumor_tl.console import console, say
from brain_tumor_tl.files import write_csv, write_text
from brain_tumor_tl.reporting.aggregate import group_runs
from brain_tumor_tl.reporting.checklist import checklist_table
from brain_tumor_tl.reporting.discover import CARD, RUN_PAGE, Run, discover_runs, holds_run
from brain_tumor_tl.reporting.document import Report, as_html, as_markdown
from brain_tumor_tl.reporting.evaluations import evaluation_table, find_evaluations
from brain_tumor_tl.reporting.folds import fold_of
from brain_tumor_tl.reporting.method_comparison import conclusion
from brain_tumor_tl.reporting.report_csv import csv_rows
from brain_tumor_tl.reporting.significance import comparison_line, comparison_sets
from brain_tumor_tl.reporting.suspects import COLUMNS, find_suspects
from brain_tumor_tl.reporting.table import Table
from brain_tumor_tl.reporting.tables import run_table, summary_table, unfinished_lines
from brain_tumor_tl.reporting.trials import by_search, trial_table, without_others
from brain_tumor_tl.run.folder import SINCE, settings_with_effect

TERMINAL = Path("-")  # where `--checklist` writes if no file is named
IN_FOLDER = Path("-")  # where `--card` writes if no file is named: into the run's folder
FILES = {"html": "report.html", "markdown": "report.md", "csv": "report.csv"}
EVERY_FILE = FILES | {"suspects": "suspects.csv"}  # the last only of cross-validations
REPEATS = ("seed", "data.fold")  # what may differ between the runs of a group: their seeds, or the folds of one seed
# Replaced by better keys: the digest of the images instead of their folder, the precision used instead of `auto`.
REPLACED = ("data.root", "trainer.precision")


def main(arguments: Sequence[str]) -> int:
    """Print the tables of all runs below some folders and write files; return the exit status."""
    options = parse(arguments)
    return exit_status(lambda: print_and_write(options))


def print_and_write(options: argparse.Namespace) -> int:
    """Print the tables and write the files that the line asks for; return the exit status.

    Raises:
        ValueError: A folder is absent, there is no run below any, or no cross-validation for `--suspects`.
    """
    targets = chosen_files(options)
    report = make_report(options.folders, Path.cwd())
    single = single_run(options, report)
    show(report)
    if options.checklist == TERMINAL:
        for table in checklists(report):
            console.print(table)
    if options.suspects and not report.suspects:
        raise ValueError("Expected all folds of a cross-validation (data.split=kfold) for --suspects, found none.")
    if single:
        for path in write_single(single, options, targets.pop("html", None), targets.pop("card", None)):
            say(f"Written   {path}")
    elif "html" in targets:
        write_missing_pages(report)
    for kind, path in with_content(targets, report).items():
        write(kind, replace(report, base=path.parent), path)
        say(f"Written   {path}")
    return 0


def single_run(options: argparse.Namespace, report: Report) -> Run | None:
    """Return the run if the line names the folder of one finished run, else None.

    Raises:
        ValueError: A flag for the page of a single run is given, and the line doesn't name one.
    """
    runs = report.discovered.runs
    if len(options.folders) == 1 and holds_run(options.folders[0]) and len(runs) == 1:
        return runs[0]
    given = {"--card": options.card, "--images": options.images, "--no-images": options.no_images}
    if unfit := [flag for flag, value in given.items() if value]:
        names = ", ".join(map(str, options.folders))
        raise ValueError(f"Expected the folder of one finished run for {' and '.join(unfit)}, got {names}.")
    return None


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed line; in `--checklist FOLDER` the folder is one of runs, not a file to write."""
    parser = Parser("report")
    parser.add_argument("folders", nargs="*", type=Path)
    for kind in EVERY_FILE:
        parser.add_argument(f"--{kind}", type=Path)
    parser.add_argument("--checklist", nargs="?", type=Path, const=TERMINAL)
    parser.add_argument("--card", nargs="?", type=Path, const=IN_FOLDER)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--no-images", action="store_true")
    parser.add_device()
    options = parser.parse_args(arguments)
    if options.images is not None and options.no_images:
        parser.error("expected one of --images and --no-images, got both")
    if options.images is not None and not options.images.is_dir():
        parser.error(f"expected a folder of images for --images, {options.images} is none")
    for flag, alone in (("checklist", TERMINAL), ("card", IN_FOLDER)):
        if (given := getattr(options, flag)) is not None and given != alone and given.is_dir():
            options.folders.append(given)
            setattr(options, flag, alone)
    if not options.folders:
        parser.error("expected one folder of runs or more, such as outputs/runs, got none")
    return options


def chosen_files(options: argparse.Namespace) -> dict[str, Path]:
    """Return the files to write by kind: those named, else the usual ones if there is one folder."""
    kinds = (*EVERY_FILE, "checklist", "card")
    named = {kind: path for kind in kinds if (path := getattr(options, kind)) not in (None, TERMINAL)}
    folder = options.folders[0]
    if options.card == IN_FOLDER:
        named["card"] = folder / CARD
    if named or len(options.folders) > 1 or (options.checklist == TERMINAL and holds_run(folder)):
        return named
    return {"html": folder / RUN_PAGE} if holds_run(folder) else usual_files(folder)


def usual_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder's report by kind."""
    return {kind: folder / name for kind, name in EVERY_FILE.items()}


def with_content(targets: Mapping[str, Path], report: Report) -> dict[str, Path]:
    """Return the files to write by kind, without the list of suspects if the report has none."""
    return {kind: path for kind, path in targets.items() if kind != "suspects" or report.suspects}


def refresh(folder: Path) -> None:
    """Rewrite the report of a sweep's folder, without printing it; an error must not end a sweep of days."""
    try:
        report = make_report([folder], folder)
        write_missing_pages(report)
        for kind, path in with_content(usual_files(folder), report).items():
            write(kind, report, path)
    except Exception as error:
        say(f"WARNING: the report of {folder} can't be written: {error}")


def make_report(folders: Sequence[Path], base: Path) -> Report:
    """Return the report of all runs below some folders, with paths relative to another one.

    Raises:
        ValueError: A folder is absent, or there is no run below any.
    """
    discovered = discover_runs(folders)
    groups, repeated = group_runs(without_others(discovered.runs), settings_of)
    names = ", ".join(folder.resolve().name for folder in folders)
    comparisons, uncompared = comparison_sets(groups)
    suspects, evaluations = find_suspects(groups), find_evaluations(discovered.runs)
    return Report(
        f"Report of {names}", discovered, groups, repeated, base, comparisons, uncompared, suspects, *evaluations
    )


def settings_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat settings that a run's results depend on, without its seed, or without its fold if it is one.

    Images are identified by their digest, and weights if they were loaded, since random ones differ with the seed.
    """
    config = SINCE | settings_with_effect(results.get("config") or {})
    settings = {key: value for key, value in config.items() if key and key not in (*REPEATS, *REPLACED)}
    environment = results.get("environment") or {}
    digests = environment.get("digests") or {}
    weights = digests.get("weights") if config.get("model.weights") is not None else None
    seed = "any" if fold_of(results) is None else results["seed"]
    found = {"images": digests.get("data"), "precision": environment.get("precision"), "model.weights_digest": weights}
    return settings | {key: value for key, value in found.items() if value is not None} | {"seed": seed}


def show(report: Report, reasons: bool = True) -> None:
    """Print the tables, and what is missing from them, with or without the reasons."""
    runs = report.discovered.runs
    for text in report.warnings():
        say(f"WARNING: {text}")
    for trials in by_search(runs):
        console.print(trial_table(trials))
    if len(report.groups) == len(runs) == 1 and "per_class" in runs[0].results:
        console.print(run_table(runs[0].results))
    if report.groups:
        console.print(summary_table(report.groups))
    if report.evaluations:
        console.print(evaluation_table(report.evaluations, narrow=True))
    for line in report.unevaluated:
        say(line)
    for line in conclusion(report.groups, report.comparisons):
        console.print(line, highlight=False, markup=False)
    for compared in report.comparisons:
        console.print(comparison_line(compared), highlight=False, markup=False)
    missing = unfinished_lines(report.unfinished, report.relative, reasons)
    for line in [*report.uncompared, *missing, report.discovered.state()]:
        say(line)


def write(kind: str, report: Report, path: Path) -> None:
    """Write one file of a report."""
    if kind == "csv":
        write_csv(path, csv_rows(report))
    elif kind == "suspects":
        write_csv(path, [row for suspects in report.suspects for row in suspects.rows], COLUMNS)
    elif kind == "checklist":
        title = f"# {report.title}: reporting checklists"
        write_text(path, "\n\n".join([title, *(table.markdown() for table in checklists(report))]) + "\n")
    else:
        write_text(path, as_html(report) if kind == "html" else as_markdown(report))


def checklists(report: Report) -> list[Table]:
    """Return the reporting checklists, each answered by the first run of a group."""
    return [checklist_table(group.runs[0].results, len(group.runs)) for group in report.groups]
