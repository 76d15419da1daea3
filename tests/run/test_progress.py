"""Progress: a bar on a terminal, a line an epoch elsewhere, and no figure of another epoch."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning as L
import pytest
from rich.console import Console

from brain_tumor_tl.console import log, run_log
from brain_tumor_tl.run import progress
from brain_tumor_tl.run.progress import ProgressBar

Fit = Callable[..., L.Trainer]

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:The number of training batches", "ignore:`isinstance"
)


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What goes to the run's log."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    with run_log(None, quiet=True):
        log.addHandler(handler)
        yield found
    log.removeHandler(handler)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 120 columns is sent."""
    sent = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=sent, force_terminal=True, width=120))
    monkeypatch.setattr(progress, "SAMPLE_SECONDS", 0.0)
    return sent


def test_progress_bar__a_line_an_epoch_without_a_terminal(messages: list[str], fit: Fit) -> None:
    fit(ProgressBar("test"), epochs=2)

    assert [re.sub(r"[\d,]+ images", "N images", message) for message in messages] == [
        "Epoch 1/2  N images/s  train loss 1.961 accuracy 51.00%  test loss 3.846 accuracy 26.00%",
        "Epoch 2/2  N images/s  train loss 1.923 accuracy 52.00%  test loss 3.704 accuracy 27.00%",
    ]


def test_progress_bar__watched_part_only_where_it_was_looked_at(messages: list[str], fit: Fit) -> None:
    fit(ProgressBar("test"), epochs=3, check_val_every_n_epoch=2)

    assert ["test" in message for message in messages] == [False, True, False]


def test_progress_bar__on_a_terminal(terminal: io.StringIO, messages: list[str], fit: Fit) -> None:
    fit(ProgressBar("test"), epochs=2)

    shown = terminal.getvalue()
    assert messages == []
    assert "Epoch 2/2" in shown
    assert "6/6" in shown  # three batches in each of two epochs
    assert re.search(r"[\d,]+ images/s  loss \d\.\d{3}", shown)
    assert "test accuracy 26.00%" in shown
    assert shown.endswith("\x1b[?25h")  # the cursor is visible again


def test_progress_bar__a_resume_goes_on(terminal: io.StringIO, fit: Fit, tmp_path: Path) -> None:
    first = fit(ProgressBar("test"), epochs=1)
    first.save_checkpoint(tmp_path / "last.ckpt")
    terminal.truncate(0)

    fit(ProgressBar("test"), epochs=2, resume=tmp_path / "last.ckpt")

    assert "Epoch 2/2" in terminal.getvalue()
    assert "6/6" in terminal.getvalue()


def test_progress_bar__an_error_closes_it(terminal: io.StringIO, fit: Fit) -> None:
    bar = ProgressBar("test")

    with pytest.raises(RuntimeError, match="a bad batch"):
        fit(bar, epochs=3, fails_in=2)
    assert bar._bar is None
    assert terminal.getvalue().endswith("\x1b[?25h")
