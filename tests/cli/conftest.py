"""Fixtures of the tests of verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

Main = Callable[[Sequence[str]], int]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[[Main, Sequence[str]], tuple[int, str]]:
    """Run a verb that can't do its work; return exit status and stderr, which has no traceback."""

    def run(main: Main, line: Sequence[str]) -> tuple[int, str]:
        try:
            status = main(line)
        except SystemExit as end:
            status = int(str(end.code))
        err = capsys.readouterr().err
        assert "Traceback" not in err
        return status, err

    return run
