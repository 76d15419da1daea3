"""Signals: SIGTERM and SIGHUP interrupt the command as Ctrl-C does, so that it ends in its own words."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

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
    seen: list[BaseException] = []  # an error raised again may be among its own causes
    while error is not None and error not in seen:
        if isinstance(error, Stopped):
            return 128 + error.number
        seen.append(error)
        error = error.__cause__ or error.__context__
    return 128 + signal.SIGINT
