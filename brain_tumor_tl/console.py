"""Console: the one place that writes to the terminal, so that text and progress bars don't mix; and a run's log."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.tree import Tree

CONTROLS = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)], "\ufffd")  # all but tabs and ends of lines
console = Console()
log = logging.getLogger("brain_tumor_tl")


def say(text: str, style: str | None = None, to: Console = console) -> None:
    """Write one line as it is, however long, without markup; what would control the terminal is shown as a mark."""
    to.print(text.translate(CONTROLS), style=style, highlight=False, markup=False, soft_wrap=True)


class LogFile(logging.FileHandler):
    """Appends log messages to a file until it can't be written; the run then goes on without it, and says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", delay=True)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.lost = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        if self.lost:
            return
        try:
            super().emit(record)  # which opens the file at the first one
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Write no more, and say why."""
        self.lost = True
        stream, self.stream = self.stream, None  # as where it was not opened yet
        with suppress(OSError):  # of what is still to be written
            if stream is not None:
                stream.close()
        why = getattr(sys.exception(), "strerror", None) or sys.exception()
        say(f"WARNING: {self.baseFilename} can't be written: {why}. The run goes on without it.")


class ConsoleHandler(logging.Handler):
    """Writes log messages to the console, with the level in front if it is a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname}: "
        say(f"{mark}{record.getMessage()}")


@contextmanager
def run_log(path: Path | None, quiet: bool = False) -> Iterator[None]:
    """Send log messages and warnings to the console and to a file while the context lasts.

    Args:
        path: The file to append to; None for no file.
        quiet: Write nothing to the console, as in the further processes of a run on several devices.
    """
    handlers: list[logging.Handler] = [] if quiet else [ConsoleHandler()]
    if path is not None:
        handlers.append(LogFile(path))
    targets = [log, logging.getLogger("py.warnings")]
    before = [(target.level, target.propagate) for target in targets]
    for target in targets:
        target.setLevel(logging.DEBUG)  # tracebacks of a user's errors go to the file only
        target.propagate = False
        for handler in handlers:
            target.addHandler(handler)
    with warnings.catch_warnings(), one_line_warnings(), quiet_threads():
        logging.captureWarnings(True)  # inside catch_warnings, which restores the state at its start
        try:
            yield
        finally:
            logging.captureWarnings(False)
            for target, (level, propagate) in zip(targets, before, strict=True):
                target.setLevel(level)
                target.propagate = propagate
                for handler in handlers:
                    target.removeHandler(handler)
            for handler in handlers:
                handler.close()


@contextmanager
def quiet_threads() -> Iterator[None]:
    """Log files that a thread couldn't write, as TensorBoard's, without a traceback: the main thread is told, too."""
    original = threading.excepthook

    def note(failed: threading.ExceptHookArgs) -> None:
        if isinstance(failed.exc_value, OSError):
            log.debug("A thread failed:", exc_info=failed.exc_value)
        else:
            original(failed)

    threading.excepthook = note
    try:
        yield
    finally:
        threading.excepthook = original


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Show only the message of a warning, without the line of code that raised it."""
    original = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: str(message)
    try:
        yield
    finally:
        warnings.formatwarning = original


def config_tree(config: Mapping[str, Any], title: str) -> Tree:
    """Return nested settings as a tree."""
    tree = Tree(f"[bold]{title}")
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            tree.add(config_tree(value, key))
        else:
            tree.add(f"{key}: [cyan]{str(value).replace('[', chr(92) + '[')}")
    return tree
