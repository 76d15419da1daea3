"""Shortcuts: planted ones are found, and what is inside the image has no influence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_tumor_tl.data.index import Index
from brain_tumor_tl.data.leakage import shortcuts
from brain_tumor_tl.data.leakage.file_info import FileInfo, FileRecord
from brain_tumor_tl.data.leakage.shortcuts import (
    border_statistics,
    grey_statistics,
    shortcut_accuracies,
    shortcut_features,
)
from brain_tumor_tl.data.splits.random import random_split
from brain_tumor_tl.data.splits.split import Split

LABELS = np.arange(120) % 3


def info_of(widths: list[int], thumbnails: Any) -> FileInfo:
    """Return the properties of files of some widths."""
    count = len(widths)
    index = Index(Path("nowhere"), ("",) * count, LABELS[:count], ("a", "b", "c"), ("",) * count, ("",) * count)
    files = tuple(FileRecord(width, 100, 1000, "L", "PNG", "") for width in widths)
    return FileInfo(index, thumbnails, files, "key")


def test_shortcut_accuracies__planted_size() -> None:
    thumbnails = np.random.default_rng(0).integers(0, 255, (120, 128, 128), dtype=np.uint8)
    features = shortcut_features(info_of([200 + 10 * int(label) for label in LABELS], thumbnails))

    found = shortcut_accuracies(features, LABELS, random_split(LABELS, 0), seed=0)

    assert list(found) == [
        "constant guess", "width and height", "aspect", "file size", "border", "brightness",
        "all of these",
    ]  # fmt: skip
    assert found["width and height"] == found["aspect"] == 1
    assert max(found["file size"], found["border"], found["brightness"]) < 0.7


def test_shortcut_features__of_chunks_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    thumbnails = np.random.default_rng(0).integers(0, 255, (7, 128, 128), dtype=np.uint8)
    whole = shortcut_features(info_of([100] * 7, thumbnails))
    monkeypatch.setattr(shortcuts, "CHUNK", 3)

    chunked = shortcut_features(info_of([100] * 7, thumbnails))

    assert list(whole) == list(chunked)
    assert all(np.allclose(whole[name], chunked[name], rtol=1e-12) for name in whole)
    assert whole["all of these"].shape == (7, 2 + 1 + 1 + 7 + 8)


def test_statistics__do_not_depend_on_the_place_of_pixels_inside() -> None:
    random = np.random.default_rng(1)
    image = np.zeros((128, 128), dtype=np.uint8)
    image[20:100, 20:100] = random.integers(60, 200, (80, 80))
    other = image.copy()
    other[20:100, 20:100] = random.permutation(image[20:100, 20:100].ravel()).reshape(80, 80)

    border, brightness = (statistics(np.stack([image, other])) for statistics in (border_statistics, grey_statistics))

    assert np.array_equal(border[0], border[1])
    assert np.allclose(brightness[0], brightness[1])
    assert border[0].tolist() == [0, 0, 1, 20, 28, 20, 28]


def test_shortcut_accuracies__constant_guess_is_the_most_frequent_training_class() -> None:
    labels = np.array([1, 1, 0, 0, 0, 1])

    found = shortcut_accuracies({}, labels, Split(np.array([0, 0, 0, 2, 2, 2])), seed=0)

    assert found == {"constant guess": 1 / 3}
