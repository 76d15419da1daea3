"""Signals: every signal that asks the command to end gives one sentence, and the exit status that shells give."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from brain_tumor_tl.cli.signals import Stopped, interrupt_on_signals, interrupted_status

StartPython = Callable[..., "subprocess.Popen[str]"]
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Put the handlers of this process back."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_interrupt_on_signals__raises_an_interrupt(number: signal.Signals, handlers: None) -> None:
    signal.signal(number, signal.SIG_DFL)
    interrupt_on_signals()
    with pytest.raises(KeyboardInterrupt) as caught:
        os.kill(os.getpid(), number)
    assert interrupted_status(caught.value) == 128 + number


def test_interrupt_on_signals__what_nohup_ignores_stays_ignored(handlers: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    interrupt_on_signals()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_interrupted_status__through_what_became_of_it() -> None:
    try:
        try:
            raise Stopped(signal.SIGTERM)
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904  # as Lightning does
    except SystemExit as end:
        error = KeyboardInterrupt()
        error.__cause__ = end
    assert interrupted_status(error) == 143
    assert interrupted_status(None) == interrupted_status(ValueError()) == 130


EARLY = """
import sys, time
from brain_tumor_tl.cli import train
from brain_tumor_tl.__main__ import main
def wait():
    print("ready", flush=True)
    time.sleep(60)
train.import_libraries = wait
sys.stderr = sys.stdout
sys.argv = ["brain-tumor-tl", "train", "data=phantom", "hydra.run.dir=" + sys.argv[1]]
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, *SIGNALS])
def test_main__a_signal_before_the_run_begins(
    number: signal.Signals, start_python: StartPython, tmp_path: Path
) -> None:
    process = start_python(EARLY, tmp_path / "run")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == "Interrupted; nothing was started.\n"
    assert process.returncode == 128 + number
    assert not (tmp_path / "run").exists()
