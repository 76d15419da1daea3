"""Signals: SIGTERM and SIGHUP interrupt the command as Ctrl-C does, so that it ends in its own words."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

from brain_tumor_tl.run.causes import causes

SIGNALS = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP


class Stopped(KeyboardInterrupt):
    """An interrupt by another signal than Ctrl-C's.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def interrupt_on_signals() -> None:
    """Raise `Stopped` in this thread when a signal asks the process to end; an ignored one stays so, as by nohup."""
    for number in [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


def stop(number: int, frame: FrameType | None) -> NoReturn:
    """Raise `Stopped`."""
    raise Stopped(number)


def interrupted_status(error: BaseException | None) -> int:
    """Return the exit status of an interrupt, as shells give it: 128 + the number of the signal.

    Args:
        error: The interrupt, or what was made of it on its way: Lightning, for one, ends the process instead.

    >>> interrupted_status(KeyboardInterrupt()), interrupted_status(Stopped(15))
    (130, 143)
    """
    return 128 + next((each.number for each in causes(error) if isinstance(each, Stopped)), signal.SIGINT)
