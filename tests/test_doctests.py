"""Docstrings: their examples are correct."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import brain_tumor_tl


def test_docstrings__examples_hold() -> None:
    names = [info.name for info in pkgutil.walk_packages(brain_tumor_tl.__path__, "brain_tumor_tl.")]
    results = [doctest.testmod(importlib.import_module(name)) for name in names if not name.endswith("__main__")]
    assert len(names) > 25
    assert sum(result.attempted for result in results) > 10
    assert sum(result.failed for result in results) == 0
