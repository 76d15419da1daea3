"""Fixtures: hand-made results have the keys of a real run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest


def key_paths(content: Mapping[str, Any], parent: str = "") -> set[str]:
    """Return the keys of nested mappings, joined by dots."""
    found: set[str] = set()
    for key, value in content.items():
        found.add(f"{parent}{key}")
        if isinstance(value, Mapping):
            found |= key_paths(value, f"{parent}{key}.")
    return found


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_make_results__has_keys_of_a_real_run(
    method: str, finished_runs: dict[str, Path], make_results: Callable[..., dict[str, Any]]
) -> None:
    real = json.loads((finished_runs[method] / "results.json").read_text(encoding="utf-8"))
    made = make_results(f"resnet18-{method}-s0")

    assert made["schema"] == real["schema"]
    assert key_paths(made) - key_paths(real) == set()
