"""Outcome: the status and the one line that a verb ends with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from brain_tumor_tl.cli.outcome import exit_status

ENDS: dict[str, tuple[BaseException, int, str]] = {
    "value": (ValueError("wrong"), 1, "error: wrong\n"),
    "file": (FileNotFoundError("no such"), 1, "error: no such\n"),
    "system": (
        PermissionError(13, "Permission denied", "/runs/.results.json.77.tmp"),
        1,
        "error: Can't use /runs/results.json: Permission denied. Change its permissions, or give another path.\n",
    ),
    "full disk": (
        OSError(28, "No space left on device"),
        1,
        "error: Can't use a file: No space left on device. Free some space, or give a path on another disk, and start "
        "again.\n",
    ),
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
