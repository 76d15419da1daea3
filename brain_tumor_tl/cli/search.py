"""Search: the best settings with Optuna."""

from __future__ import annotations

from collections.abc import Sequence

from brain_tumor_tl.cli import train
from brain_tumor_tl.cli.command import run_hydra


def main(arguments: Sequence[str]) -> int:
    """Search as `hydra/sweeper=search` does (sweeper.py), and return the exit status."""
    # First, so that what is typed comes later and wins.
    run_hydra("search", ["hydra.mode=MULTIRUN", "hydra/sweeper=search", *arguments], train.run)
    return 0
