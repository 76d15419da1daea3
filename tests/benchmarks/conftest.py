"""A benchmark's own main, at a size of seconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

Main = Callable[[Sequence[str] | None], int]
Figures = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def figures(tmp_path: Path) -> Figures:
    """Run a benchmark's main with a line of options, and return the rows of its JSON."""

    def run(main: Main, line: str) -> list[dict[str, Any]]:
        told = tmp_path / "figures.json"
        assert main([*line.split(), "--json", str(told)]) == 0
        content = json.loads(told.read_text(encoding="utf-8"))
        assert content["surroundings"]["packages"]["torch"]
        rows: list[dict[str, Any]] = content["rows"]
        return rows

    return run
