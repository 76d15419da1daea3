"""Serve: one finished run on a page in the browser of this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from brain_tumor_tl.cli.outcome import exit_status
from brain_tumor_tl.cli.parser import Parser
from brain_tumor_tl.console import say
from brain_tumor_tl.inference.run_folder import check_folders
from brain_tumor_tl.reporting.notice import NOTICE

PACKAGES = ("starlette", "uvicorn", "python_multipart")  # the extra `serve`
PORT = 8000


def main(arguments: Sequence[str]) -> int:
    """Show a run at an address of this machine until an interrupt; return the exit status."""
    options = parse(arguments)
    return exit_status(lambda: serve_until_interrupt(options))


def serve_until_interrupt(options: argparse.Namespace) -> int:
    """Serve a run; return the exit status, 0 after an interrupt, which is the way to end it."""
    check_packages()
    try:
        serve(options.run, options.port, options.device)
    except KeyboardInterrupt:
        say("Stopped.")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the parsed line."""
    parser = Parser("serve")
    parser.add_argument("run", metavar="RUN", type=Path)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_device()
    options = parser.parse_args(arguments)
    if not 0 <= options.port <= 65535:
        parser.error(f"expected --port between 0 and 65535, got {options.port}")
    return options


def check_packages() -> None:
    """Raise an ImportError that names what is missing of the extra `serve`."""
    if missing := [name.replace("_", "-") for name in PACKAGES if find_spec(name) is None]:
        raise ImportError(f"`serve` needs {', '.join(missing)}: pip install 'brain_tumor_tl[serve]'.")


def serve(folder: Path, port: int, device: str) -> None:
    """Show a run at an address of this machine until an interrupt.

    Raises:
        ValueError: There is no finished run in the folder, or its weights can't be used.
        OSError: The port can't be used.
    """
    from brain_tumor_tl.serve.app import make_app
    from brain_tumor_tl.serve.server import HOST, listen, make_server

    with listen(port) as listener:
        check_folders([folder])
        from brain_tumor_tl.inference.trained_run import TrainedRun  # imports torch
        from brain_tumor_tl.serve.examine import Examiner

        run = TrainedRun(folder, device)
        say(f"Run       {run.name}: {', '.join(run.classes)}")
        say(f"Open      http://{HOST}:{listener.getsockname()[1]}/ on this machine; Ctrl+C stops it")
        say(f"Warning   {NOTICE}")
        make_server(make_app(run.results, Examiner(run))).run(sockets=[listener])
