"""Shortcuts: what is planted is found, and what lies inside the picture isn't seen."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.leakage.file_info import FileInfo, FileRecord
from brain_tumor_tl.data.leakage.shortcuts import (
    forest_accuracy,
    majority_accuracy,
    picture_statistics,
    shortcut_accuracies,
    shortcut_features,
)
from brain_tumor_tl.data.splits.random import Split, random_split

LABELS = np.arange(120) % 3


def facts_of(widths: list[int], pictures: Any) -> FileInfo:
    """Return the facts of files of some widths."""
    count = len(widths)
    index = Index(Path("nowhere"), ("",) * count, LABELS[:count], ("a", "b", "c"), ("",) * count, ("",) * count)
    files = tuple(FileRecord(width, 100, 1000, "L", "PNG", "") for width in widths)
    return FileInfo(index, pictures, files, "key")


def test_shortcut_accuracies__planted_size() -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (120, 128, 128), dtype=np.uint8)
    features = shortcut_features(facts_of([200 + 10 * int(label) for label in LABELS], pictures))

    found = shortcut_accuracies(features, LABELS, random_split(LABELS, 0), seed=0)

    assert list(found) == [
        "constant guess", "width and height", "aspect", "file size", "border", "brightness",
        "all of these",
    ]  # fmt: skip
    assert found["width and height"] == found["aspect"] == 1
    assert max(found["file size"], found["border"], found["brightness"]) < 0.7


def test_picture_statistics__where_pixels_lie_inside_does_not_count() -> None:
    random = np.random.default_rng(1)
    picture = np.zeros((128, 128), dtype=np.uint8)
    picture[20:100, 20:100] = random.integers(60, 200, (80, 80))
    other = picture.copy()
    other[20:100, 20:100] = random.permutation(picture[20:100, 20:100].ravel()).reshape(80, 80)

    border, brightness = picture_statistics(np.stack([picture, other]))

    assert np.array_equal(border[0], border[1])
    assert np.allclose(brightness[0], brightness[1])
    assert border[0].tolist() == [0, 0, 1, 20, 28, 20, 28]


def test_majority_accuracy__of_the_training_part() -> None:
    labels = np.array([1, 1, 0, 0, 0, 0])

    split = Split(np.array([0, 1, 2]), np.array([], dtype=np.int64), np.array([3, 4, 5]))
    assert majority_accuracy(labels, split) == 0


def test_forest_accuracy__without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refusing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(ImportError, match=r"pip install 'brain_tumor_tl\[audit\]'"):
        forest_accuracy(np.zeros((120, 1)), LABELS, random_split(LABELS, 0), 0)
