from __future__ import annotations

import argparse
import doctest
import importlib
import json
import pkgutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from benchmarks import measure

FACTS: dict[str, Any] = {
    "date": "2000-01-01 00:00 UTC", "device": "a device", "cores": 2, "load_before": 0.0, "python": "3",
    "packages": {"torch": "2", "timm": None},
}  # fmt: skip


def test_docstrings__examples_hold() -> None:
    names = [info.name for info in pkgutil.iter_modules(benchmarks.__path__, "benchmarks.")]
    results = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert len(names) >= 10
    assert sum(result.attempted for result in results) >= 4
    assert sum(result.failed for result in results) == 0


def test_options__types_and_lists() -> None:
    line = ["--images", "7", "--models", "a", "b", "--data", "folder", "--sizes", "1", "2", "--set", "seed=1"]
    options = measure.options("A line.\n\nMore.", line, ("sizes", [3], "sizes"), images=1, models=["c"], data=None)
    assert vars(options) == {
        "images": 7, "models": ["a", "b"], "data": Path.cwd() / "folder", "sizes": [1, 2], "set": ["seed=1"],
        "json": None,
    }  # fmt: skip


def test_options__unknown_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        measure.options("A line.", ["--epochs", "3"], images=1)
    assert "unrecognized arguments: --epochs 3" in capsys.readouterr().err


def test_taking_turns__order_of_calls() -> None:
    called: list[str] = []
    given = measure.taking_turns({name: partial(called.append, name) for name in "ab"}, 2)
    assert called == ["a", "b", "a", "b"]
    assert {name: len(values) for name, values in given.items()} == {"a": 2, "b": 2}


def test_ratios__pair_by_pair() -> None:
    assert measure.ratios([1.0, 10.0, 4.0], [2.0, 10.0, 4.0]) == measure.Spread(1.0, 0.5, 1.0, 3)


@pytest.mark.parametrize(
    ("spread", "text"),
    [(measure.Spread(2.0, 1.0, 3.0, 3), "2 (1..3)"), (measure.Spread(1234.5, 1234.5, 1234.5, 1), "1234")],
    ids=["several", "one"],
)
def test_spread__text(spread: measure.Spread, text: str) -> None:
    assert str(spread) == text


def test_report__table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = argparse.Namespace(json=tmp_path / "figures.json", images=7)
    rows: list[dict[str, Any]] = [
        {"way": "slow", "seconds": measure.spread([1.0, 3.0])},
        {"way": "none", "seconds": None},
    ]
    measure.report("Ways", rows, options, FACTS)
    text = capsys.readouterr().out
    for part in ("Ways", "slow", "2 (1..3)", "a device", "2000-01-01", "torch 2"):
        assert part in text
    content = json.loads(options.json.read_text(encoding="utf-8"))
    assert content["options"]["images"] == 7
    assert content["surroundings"] == FACTS
    assert content["rows"][0]["seconds"] == {"median": 2.0, "least": 1.0, "most": 3.0, "repeats": 2}
    assert content["rows"][1] == {"way": "none", "seconds": None}


def test_surroundings__machine_versions_and_date() -> None:
    facts = measure.surroundings()
    assert facts["packages"]["torch"]
    assert facts["cores"] >= 1
    assert facts["date"].endswith("UTC")
    assert facts["device"]
