"""Pictures: those that a command line names, and the progress bar over them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor_tl.cli.parser import Parser

if TYPE_CHECKING:
    from rich.progress import Progress

LISTED = Path("-")  # stands for the lines of stdin


def check_places(parser: Parser, places: Sequence[Path]) -> None:
    """Exit with 2 if a picture or folder isn't there."""
    from brain_tumor_tl.data.volumes import split_name

    absent = [str(place) for place in places if place != LISTED and not split_name(place)[0].exists()]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        parser.error(f"there is no {', '.join(absent[:3])}{more}")


def named_pictures(options: argparse.Namespace, slices: str) -> list[Path]:
    """Return the pictures that the line, and for `-` the lines of stdin, name.

    Args:
        options: The parsed line, with `places`.
        slices: Which slices of volumes, as `data.slices`.
    """
    from brain_tumor_tl.inference.pictures import find_pictures

    lines = (line.rstrip("\r\n") for line in sys.stdin) if LISTED in options.places else ()
    listed = [Path(line) for line in lines if line]
    places = [place for each in options.places for place in (listed if each == LISTED else [each])]
    return find_pictures(places, slices)


@contextmanager
def progress_bar(label: str, count: int) -> Iterator[Progress]:
    """Yield a progress bar with one task on stderr, hidden if that is no terminal.

    Args:
        label: What is done.
        count: Number of pictures.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        bar.add_task(label, total=count)
        yield bar
