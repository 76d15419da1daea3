"""Audit page: its pictures hold the right thumbnails; tests/cli/test_audit.py reads a whole page."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brain_tumor_tl.reporting.audit_page import across_table, pair_strip, pictures, split_line
from brain_tumor_tl.reporting.strip import GAP

SIZE = 6
THUMBNAILS = np.arange(12, dtype=np.uint8)[:, None, None] * np.ones((1, SIZE, SIZE), dtype=np.uint8)
SPLIT: dict[str, Any] = {
    "split": "random", "test_images": {"mean": 10, "std": 0}, "copies_in_training": {"mean": 2.5, "std": 0.5},
    "nearest_neighbour": {"mean": 0.9, "std": 0.01}, "known_patients": None, "patients_in_training": None,
    "shortcuts": {
        name: {"mean": mean, "std": 0} for name, mean in (("constant guess", 0.9), ("a", 0.5), ("all of these", 0.4))
    },
}  # fmt: skip


def pixels(png: bytes) -> NDArray[np.uint8]:
    """Return the grey values of a PNG file."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def test_pair_strip__first_beside_second() -> None:
    found = pixels(
        pair_strip(THUMBNAILS, THUMBNAILS + 100, [{"first": 3, "second": 4}, {"first": 1, "second": 0}]).content
    )

    assert found[0, :: SIZE + GAP].tolist() == [3, 104, 1, 100]


def test_pictures__those_of_the_findings() -> None:
    findings = {
        "paths": [f"{i}.png" for i in range(12)], "conflicts": [[1, 2]],
        "labels": [0, 0, 1] * 4, "contents": {"classes": {"a": 8, "b": 4}}, "series": {"longest": [[0, 5, 7]]},
        "shown": {"least": [{"first": 0, "second": 1}], "not_quite": []}, "overlap": {"positions": [[2, 3]]},
    }  # fmt: skip

    found = pictures(findings, THUMBNAILS, THUMBNAILS + 100)

    assert {key: len(value) for key, value in found.items()} == {
        "conflicts": 1, "series": 1, "overlap": 1, "least": 1, "not_quite": 0,
    }  # fmt: skip
    assert found["series"][0].caption == "3 images, 0.png to 7.png"
    assert pixels(found["overlap"][0].content)[0, :: SIZE + GAP].tolist() == [2, 103]
    assert pictures(findings | {"overlap": None}, THUMBNAILS, None)["overlap"] == []


def test_split_line__the_figure_of_the_table_for_all_shortcuts() -> None:
    assert split_line(SPLIT) == (
        "data.split=random: 2.5 ± 0.5 of 10 test images have a copy in training; patients not known; a 1-NN baseline "
        "reaches 90.00 ± 1.00 %, a random forest on size, shape, border and brightness together 40.00 %."
    )
    assert split_line(SPLIT | {"shortcuts": None}).endswith("a 1-NN baseline reaches 90.00 ± 1.00 %.")
    patients = {"known_patients": {"mean": 7, "std": 0}, "patients_in_training": {"mean": 5.5, "std": 0.5}}
    assert "; 5.5 ± 0.5 of the 7 with a known patient have it in training; a" in split_line(SPLIT | patients)


def test_across_table__a_column_for_each_level() -> None:
    levels = {"identical files": {"classes": {"a": [1, 9]}}, "near copies": {"classes": {"a": [3, 9]}}}

    table = across_table(levels)

    assert table.headers == ("Class", "identical files", "near copies", "Images in the test folder")
    assert table.rows == (("a", "1", "3", "9"),)
