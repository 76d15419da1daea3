"""Export: a run as one file for programs without this package."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from brain_tumor_tl.cli.outcome import exit_status
from brain_tumor_tl.cli.parser import Parser
from brain_tumor_tl.console import console, say
from brain_tumor_tl.files import check_writable
from brain_tumor_tl.inference.run_folder import check_folders

if TYPE_CHECKING:
    from brain_tumor_tl.inference.export import Exported

FORMATS = ("onnx", "torch_export")


def main(arguments: Sequence[str]) -> int:
    """Write the file that the line asks for; return the exit status."""
    options = parse(arguments)
    return exit_status(lambda: write(options), "Interrupted; no file was written.")


def write(options: argparse.Namespace) -> int:
    """Write the file and print what is in it; return the exit status."""
    check_folders(options.run)
    check_writable(options.out.parent if options.out else options.run[0])
    from brain_tumor_tl.inference.export import export  # imports torch

    with console.status("Writing and checking the file; a large network takes a minute"):
        exported = export(options.run[0], options.format, options.out)
    for line in lines_of(exported):
        say(line)
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed line."""
    parser = Parser("export")
    parser.add_argument("run", nargs="*", type=Path)
    parser.add_argument("--format", choices=FORMATS, default="onnx")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if not options.run:
        parser.error("expected the folder of a finished run, got none")
    if len(options.run) > 1:
        parser.error(
            f"expected one run, got {len(options.run)}: export each for itself, and average their probabilities"
        )
    return options


def lines_of(exported: Exported) -> list[str]:
    """Return what is told of a file."""
    own, count = exported.same_class, exported.images
    which = "random images, since the run's own are not there" if own is None else "test images of the run"
    lines = [
        f"Input     {exported.metadata['input']}",
        f"Output    {exported.metadata['outputs']}",
        f"Classes   {exported.metadata['classes']}",
        f"Precision {exported.metadata['precision']}",
        f"Checked   on {count} {which}: probabilities differ by at most {exported.probability_difference:.1e} from the "
        f"run's in float32, logits by {exported.logit_difference:.1e} of the largest",
        f"Written   {exported.path} ({exported.path.stat().st_size / 1e6:.1f} MB)",
    ]
    if own is not None and own < count:
        lines.append(
            f"WARNING: in float32, {count - own} of {count} test images get another class than in the run's own test, "
            "so the file's accuracy is not the run's. Train in float32, trainer.precision=32-true, for a file with the "
            "run's figures."
        )
    return [*lines, exported.metadata["notice"]]
