"""Outcome: the status and the one line that a verb ends with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from brain_tumor_tl.cli.outcome import exit_status

ENDS: dict[str, tuple[BaseException, int, str]] = {
    "value": (ValueError("wrong"), 1, "error: wrong\n"),
    "file": (FileNotFoundError("no such"), 1, "error: no such\n"),
    "extra": (ImportError("pip install it"), 1, "error: pip install it\n"),
    "interrupt": (KeyboardInterrupt(), 130, "Interrupted; half is there.\n"),
}


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(("error", "status", "line"), ENDS.values(), ids=ENDS)
def test_exit_status__one_line(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_status(raising(error), "Interrupted; half is there.") == status
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize("error", [BrokenPipeError(), KeyError("a fault of the program")], ids=["pipe", "fault"])
def test_exit_status__what_it_leaves_alone(error: Exception) -> None:
    with pytest.raises(type(error)):
        exit_status(raising(error))


def test_exit_status__that_of_the_work() -> None:
    assert exit_status(lambda: 3) == 3
