"""Report: the results of runs beside the study's, read from their folders alone, at any time.

Prints the table of all runs below the folders. Given one folder that holds several runs, it also writes report.html,
report.md and report.csv there, unless files are named.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from brain_tumor_tl.console import console, log
from brain_tumor_tl.files import write_csv, write_text
from brain_tumor_tl.reporting.aggregate import group_runs
from brain_tumor_tl.reporting.checklist import checklist_table
from brain_tumor_tl.reporting.discover import gather
from brain_tumor_tl.reporting.document import Report, as_html, as_markdown
from brain_tumor_tl.reporting.folds import fold_of
from brain_tumor_tl.reporting.method_comparison import conclusion
from brain_tumor_tl.reporting.report_csv import csv_rows
from brain_tumor_tl.reporting.significance import field_line, fields_of
from brain_tumor_tl.reporting.table import Table, for_markdown, for_terminal
from brain_tumor_tl.reporting.tables import class_table, summary_table, unfinished_lines
from brain_tumor_tl.run.folder import settings_with_effect

KINDS = ("html", "markdown", "csv", "checklist")
SHOWN = Path("-")  # in place of a file: the terminal
FILES = {"html": "report.html", "markdown": "report.md", "csv": "report.csv"}
REPEATS = ("seed", "data.fold")  # what runs of one group may differ in, folds of one seed and no others
ANY_SEED = {"seed": "any"}  # stands for the seed of runs that may differ in it
# Said by other keys: the digest of the images says more than their folder, the precision used more than `auto`.
SAID_BETTER = ("data.root", "trainer.precision")


def main(arguments: Sequence[str]) -> int:
    """Print the tables of all runs below some folders and write files; return the exit status."""
    options = parse(arguments)
    try:
        targets = chosen_files(options)
        report = make_report(options.folders, Path.cwd())
        show(report)
        if options.checklist == SHOWN:
            show_checklists(report)
        for kind, path in targets.items():
            write(kind, replace(report, base=path.parent), path)
            console.print(f"Written   {path}", highlight=False, markup=False, soft_wrap=True)
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the verb's line."""
    result = argparse.ArgumentParser("brain-tumor-tl report", description=__doc__)
    result.add_argument("folders", nargs="*", type=Path, help="run folders, or folders that hold some at any depth")
    result.add_argument("--html", type=Path, metavar="FILE", help="write one self-contained HTML page to this file")
    result.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables to this file in Markdown")
    result.add_argument(
        "--csv", type=Path, metavar="FILE", help="write a row for each run to this file, fractions in place of percent"
    )
    result.add_argument(
        "--checklist", nargs="?", type=Path, const=SHOWN, metavar="FILE",
        help="what of CLAIM 2024 and TRIPOD+AI the runs answer and what is left to the author: shown, or written to "
        "this file in Markdown",
    )  # fmt: skip
    return result


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the verb's line, read.

    In `--checklist FOLDER` the folder is one of runs and no file to write to.
    """
    options = parser().parse_args(arguments)
    if options.checklist is not None and options.checklist != SHOWN and options.checklist.is_dir():
        options.folders.append(options.checklist)
        options.checklist = SHOWN
    if not options.folders:
        parser().error("expected one folder of runs or more, got none")
    return options


def chosen_files(options: argparse.Namespace) -> dict[str, Path]:
    """Return what to write where: the files named, else the usual three where the one folder holds several runs."""
    named = {kind: getattr(options, kind) for kind in KINDS if getattr(options, kind) not in (None, SHOWN)}
    if named or len(options.folders) > 1:
        return named
    folder = options.folders[0]
    of_a_run = any((folder / name).is_file() for name in ("results.json", "config.yaml"))
    return {} if of_a_run else {kind: folder / name for kind, name in FILES.items()}


def refresh(folder: Path) -> None:
    """Write the report of a sweep's folder anew, quietly; a sweep goes on whatever becomes of its report."""
    try:
        report = make_report([folder], folder)
        for kind, name in FILES.items():
            write(kind, report, folder / name)
    except Exception as error:  # a sweep of days must not end by a table
        log.debug(f"The report of {folder} was not written: {error}", exc_info=True)


def make_report(folders: Sequence[Path], base: Path) -> Report:
    """Return the report of all runs below some folders, with paths as seen from another one.

    Raises:
        ValueError: A folder is absent, or there is no run below any.
    """
    gathered = gather(folders)
    groups, again = group_runs(gathered.runs, settings_of)
    names = ", ".join(folder.resolve().name for folder in folders)
    return Report(f"Report of {names}", gathered, groups, again, base, *fields_of(groups))


def settings_of(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat settings that a run's figures depend on, its seed left out, or its fold where it is one of many.

    The images count by their digest, the precision as it was used. The digest of the weights counts where they were
    loaded, for random ones differ with the seed.
    """
    config = settings_with_effect(results.get("config") or {})
    settings = {key: value for key, value in config.items() if key and key not in (*REPEATS, *SAID_BETTER)}
    settings |= ANY_SEED if fold_of(results) is None else {"seed": results["seed"]}
    environment = results.get("environment") or {}
    digests = environment.get("digests") or {}
    found = {"images": digests.get("data"), "precision": environment.get("precision")}
    if config.get("model.weights") is not None:
        found["model.weights_digest"] = digests.get("weights")
    return settings | {key: value for key, value in found.items() if value is not None}


def show(report: Report) -> None:
    """Print the tables, and what is missing from them."""
    for text in report.warnings():
        console.print(f"WARNING: {text}", highlight=False, markup=False, soft_wrap=True)
    if len(report.groups) == 1 and len(report.gathered.runs) == 1 and "per_class" in report.gathered.runs[0].results:
        console.print(class_table(report.gathered.runs[0].results))
    if report.groups:
        console.print(summary_table(report.groups))
    for text in conclusion(report.groups):
        console.print(text, highlight=False, markup=False)
    for field in report.fields:
        console.print(field_line(field), highlight=False, markup=False)
    for line in report.uncompared:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    for line in unfinished_lines(report.gathered.unfinished, report.shown):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(report.gathered.state(), highlight=False, markup=False)


def write(kind: str, report: Report, path: Path) -> None:
    """Write one file of a report, whole or not at all."""
    forms = {"html": as_html, "markdown": as_markdown, "checklist": checklist_markdown}
    if kind == "csv":
        write_csv(path, csv_rows(report))
    else:
        write_text(path, forms[kind](report))


def checklists(report: Report) -> list[Table]:
    """Return what the reporting lists ask for and the runs know: of each group's first run."""
    return [checklist_table(group.runs[0].results, len(group.runs)) for group in report.groups]


def show_checklists(report: Report) -> None:
    """Print the reporting lists."""
    for table in checklists(report):
        console.print(for_terminal(table))


def checklist_markdown(report: Report) -> str:
    """Return the reporting lists in Markdown."""
    parts = [f"# {report.title}: reporting lists", *map(for_markdown, checklists(report))]
    return "\n\n".join(parts) + "\n"
