"""Runs the main function of a benchmark with a small workload."""

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
    """Run a benchmark's main with a line of options; return the rows of its JSON."""

    def run(main: Main, line: str) -> list[dict[str, Any]]:
        output = tmp_path / "figures.json"
        assert main([*line.split(), "--json", str(output)]) == 0
        content = json.loads(output.read_text(encoding="utf-8"))
        assert content["environment"]["packages"]["torch"]
        rows: list[dict[str, Any]] = content["rows"]
        return rows

    return run
