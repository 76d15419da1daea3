"""Outcome: how a verb ends, as an exit status and one line for what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

from brain_tumor_tl.cli.signals import interrupted_status
from brain_tumor_tl.console import run_log


def exit_status(work: Callable[[], int], interrupted: str = "Interrupted.") -> int:
    """Do a verb's work and return the exit status.

    Args:
        work: Returns the status if it ends by itself. What users can cause it raises as ValueError, OSError or
            ImportError, whose message is all that they need.
        interrupted: What an interrupt leaves behind, in words.
    """
    with run_log(None):
        try:
            return work()
        except BrokenPipeError:  # as of `| head`, which the command itself handles
            raise
        except (ValueError, OSError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt as interrupt:
            print(interrupted, file=sys.stderr)
            return interrupted_status(interrupt)
