"""Parser: the command line of the verbs that have flags of their own instead of Hydra's keys."""

from __future__ import annotations

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser whose errors are sentences like those of the other verbs, without a usage.

    Args:
        verb: Its help is help_pages/VERB.txt.
    """

    def __init__(self, verb: str) -> None:
        super().__init__(f"brain-tumor-tl {verb}", add_help=False, allow_abbrev=False)

    def add_device(self) -> None:
        """Add `--device`."""
        self.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and one line."""
        self.exit(2, f"error: {message}; `{self.prog} --help` explains it.\n")
