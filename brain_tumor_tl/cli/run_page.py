"""Run page: the files of `report RUN` for a single run: its page, its figures and its model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from brain_tumor_tl.console import say
from brain_tumor_tl.files import write_text
from brain_tumor_tl.reporting.cases import Gallery, cases_of, choose
from brain_tumor_tl.reporting.discover import FIGURES, RUN_PAGE, Run
from brain_tumor_tl.reporting.document import Report
from brain_tumor_tl.reporting.model_card import model_card
from brain_tumor_tl.reporting.run_files import RunFiles, read_run_files
from brain_tumor_tl.reporting.run_page import alts, run_page

LATER = "Without pictures, which `brain-tumor-tl report` shows if it gets the folder of this one run."
UNWANTED = "Without pictures, as asked for with --no-images."


def write_run_page(run: Run, path: Path, gallery: Gallery, figures: bool = False) -> list[Path]:
    """Write the page of a run, and its figures into its folder if asked for; return what was written.

    Args:
        run: A finished run.
        path: The page.
        gallery: Of the run.
        figures: Whether to write the figures as files too.
    """
    from brain_tumor_tl.reporting.run_figures import (
        drawings,
        run_figures,
        write_figures,
    )  # matplotlib is slow to import

    files = read_run_files(run)
    drawn = run_figures(files)
    write_text(path, run_page(files, gallery, drawings(drawn, alts(files))))
    if not figures:
        return [path]
    write_figures(drawn, run.folder / FIGURES)
    return [path, run.folder / FIGURES]


def gallery_without_pictures(files: RunFiles, why: str) -> Gallery:
    """Return a run's errors and most confident predictions in words alone."""
    return choose(cases_of(files))._replace(missing=why)


def gallery_of(files: RunFiles, images: Path | None, device: str) -> Gallery:
    """Return a run's errors and most confident predictions with their pictures, or the reason why there are none.

    Args:
        files: The run.
        images: Where its images are now; None for where they were.
        device: "auto", "cpu", "cuda" or "mps".
    """
    gallery = choose(cases_of(files))
    if not gallery.wrong and not gallery.right:
        return gallery
    from brain_tumor_tl.inference.gallery import with_pictures  # imports torch
    from brain_tumor_tl.inference.trained_run import TrainedRun

    try:
        run = TrainedRun(files.folder, device)
    except ValueError as error:
        return gallery._replace(missing=f"Without pictures: {error}")
    return with_pictures(gallery, run, images)


def write_single(run: Run, options: argparse.Namespace, page: Path | None, card: Path | None) -> list[Path]:
    """Write what a line asks for of a single run; return the files.

    Args:
        run: The run.
        options: `images`, `no_images` and `device`.
        page: The page, None for none; one in the run's folder comes with the figures as files.
        card: The model card, None for none.
    """
    written = []
    if page:
        files = read_run_files(run)
        unwanted = gallery_without_pictures(files, UNWANTED) if options.no_images else None
        gallery = unwanted or gallery_of(files, options.images, options.device)
        if gallery.missing and not options.no_images:
            say(gallery.missing)
        written += write_run_page(run, page, gallery, figures=page.parent == run.folder)
    if card:
        write_text(card, model_card(read_run_files(run)))
        written.append(card)
    return written


def write_missing_pages(report: Report) -> None:
    """Write a page without pictures for each run in a report that has none of its present results."""
    for run in (run for group in report.groups for run in group.runs):
        path, results = run.folder / RUN_PAGE, run.folder / "results.json"
        if not path.is_file() or path.stat().st_mtime < results.stat().st_mtime:
            try:
                write_run_page(run, path, gallery_without_pictures(read_run_files(run), LATER))
            except (ValueError, OSError) as error:  # the report of the others is not lost for it
                say(f"WARNING: no page for {run.folder}: {error}")
