from __future__ import annotations

import argparse
import doctest
import importlib
import json
import os
import pkgutil
import platform
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks
from benchmarks import measure

ENVIRONMENT: dict[str, Any] = {
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


def test_options__unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
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
    measure.report("Ways", rows, options, ENVIRONMENT)
    text = capsys.readouterr().out
    for part in ("Ways", "slow", "2 (1..3)", "a device", "2000-01-01", "torch 2"):
        assert part in text
    content = json.loads(options.json.read_text(encoding="utf-8"))
    assert content["options"]["images"] == 7
    assert content["environment"] == ENVIRONMENT
    assert content["rows"][0]["seconds"] == {"median": 2.0, "least": 1.0, "most": 3.0, "repeats": 2}
    assert content["rows"][1] == {"way": "none", "seconds": None}


def test_environment__versions_and_date() -> None:
    environment = measure.environment()
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    age = datetime.now(UTC) - datetime.strptime(environment["date"], "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    assert timedelta(0) <= age < timedelta(minutes=2)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system gives a process no set of cores")
def test_environment__cores_of_this_process() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert measure.environment()["cores"] == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert measure.environment()["cores"] == len(allowed)


@pytest.mark.parametrize(("found", "name"), [(iter(["A CPU", "A CPU"]), "A CPU"), (iter([]), platform.machine())])
def test_processor__name_or_architecture(found: Iterator[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.measure.hardware.cpu_fields", lambda field: {"model name": found}[field])
    assert measure.processor() == name
