"""Predictions: two runs are compared by the files in their folders, unless they were tested on other images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.evaluation.comparison import difference_interval, mcnemar_exact
from brain_tumor_tl.files import write_csv
from brain_tumor_tl.reporting.predictions import compare_runs, read_predictions, read_units

FIRST = [True] * 60 + [True] * 9 + [False] * 2 + [False] * 9
SECOND = [True] * 60 + [False] * 9 + [True] * 2 + [False] * 9


def write_run(
    folder: Path, hits: Sequence[bool], groups: Sequence[object] | None = None, start: int = 0, column: str = "split"
) -> Path:
    """Write the CSV files of a run that predicts these images correctly, from image number `start`.

    Args:
        folder: The run's folder, which is returned.
        hits: Which images it predicts correctly.
        groups: The group of each image.
        start: Number of the first image.
        column: Name of the column of split.csv that holds the split; it was `part` before schema 2.
    """
    folder.mkdir(parents=True)
    paths = [f"glioma_tumor/gg ({start + number}), é.jpg" for number in range(len(hits))]
    label = [number % 4 for number in range(len(hits))]
    predictions = [
        {"path": path, "label": true, "class": "x", "predicted": "y", "correct": int(hit), "probability/x": "0.5"}
        for path, true, hit in zip(paths, label, hits, strict=True)
    ]
    write_csv(folder / "predictions.csv", predictions)
    split = [{"path": path, "label": true, column: "test"} for path, true in zip(paths, label, strict=True)]
    if groups is not None:
        split = [{**row, "group": group} for row, group in zip(split, groups, strict=True)]
    write_csv(folder / "split.csv", [{"path": "other.jpg", "label": 0, column: "train"}, *split])
    return folder


def test_compare_runs__by_image(tmp_path: Path) -> None:
    result = compare_runs(write_run(tmp_path / "a", FIRST), write_run(tmp_path / "b", SECOND))

    assert (result["images"], result["unit"], result["units"], result["only_right"]) == (80, "image", 80, [9, 2])
    assert result["accuracy"] == [69 / 80, 62 / 80]
    assert result["difference"] == pytest.approx(7 / 80)
    assert result["test"] == "McNemar, exact"
    assert result["p_value"] == mcnemar_exact(np.array(FIRST), np.array(SECOND))
    assert result["interval"] == difference_interval(np.array(FIRST), np.array(SECOND))


def test_compare_runs__by_group(tmp_path: Path) -> None:
    groups = [number // 8 for number in range(80)]
    result = compare_runs(write_run(tmp_path / "a", FIRST, groups), write_run(tmp_path / "b", SECOND, groups))

    assert (result["unit"], result["units"], result["test"]) == ("group", 10, "exchange by group, exact")
    assert result["interval"] == difference_interval(np.array(FIRST), np.array(SECOND), groups)
    assert result["p_value"] > mcnemar_exact(np.array(FIRST), np.array(SECOND))


def test_compare_runs__rows_in_another_order(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "a", FIRST), write_run(tmp_path / "b", SECOND)
    before = compare_runs(one, other)
    header, *rows = (other / "predictions.csv").read_text(encoding="utf-8").splitlines()
    (other / "predictions.csv").write_text("\n".join([header, *rows[::-1]]) + "\n", encoding="utf-8")

    assert compare_runs(one, other) == before


def test_compare_runs__other_images(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "a", FIRST), write_run(tmp_path / "b", SECOND, start=30)

    with pytest.raises(ValueError, match=r"80 images in .*a and 80 in .*b, 50 of them in both"):
        compare_runs(one, other)


def test_compare_runs__other_labels(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "a", FIRST), write_run(tmp_path / "b", SECOND)
    text = (other / "predictions.csv").read_text(encoding="utf-8")
    (other / "predictions.csv").write_text(text.replace(",3,x", ",2,x", 1), encoding="utf-8")

    with pytest.raises(ValueError, match=r"same test images and labels.* 80 of them in both"):
        compare_runs(one, other)


BAD = {
    "absent": (None, r"Expected CSV in .*predictions.csv, it can't be read"),
    "empty": ("", "Expected path, label and correct of each test image"),
    "other-columns": ("path,label\na,0\n", "Expected path, label and correct of each test image"),
    "twice": ("path,label,correct\na,0,1\na,0,0\n", "each image once .* got a 2 times"),
}


@pytest.mark.parametrize(("content", "match"), BAD.values(), ids=BAD)
def test_compare_runs__bad_file(content: str | None, match: str, tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "a", FIRST), write_run(tmp_path / "b", SECOND)
    (other / "predictions.csv").unlink() if content is None else (other / "predictions.csv").write_text(content)

    with pytest.raises(ValueError, match=match):
        compare_runs(one, other)


@pytest.mark.parametrize("column", ["split", "part"])
def test_read_units__absent_column_and_gaps(column: str, tmp_path: Path) -> None:
    plain = write_run(tmp_path / "a", [True, False], column=column)
    known = write_run(tmp_path / "b", [True, False], ["g1", "g2"], column=column)
    paths = list(read_predictions(known))

    assert read_units(plain, paths) == (None, "image")
    assert read_units(known, paths[::-1]) == (["g2", "g1"], "group")
    assert read_units(known, [*paths, "unknown.jpg"]) == (None, "image")


@pytest.mark.parametrize(
    ("patients", "unit"),
    [(["0", "1", ""], "patient"), (["", "", "7"], "patient"), (["7", "", ""], "group"), (["", "", ""], "group")],
    ids=["some", "one", "of-a-training-image", "none"],
)
def test_read_units__patient_if_that_of_any_test_image_is_known(patients: list[str], unit: str, tmp_path: Path) -> None:
    paths = ["train.png", "a.png", "b.png"]
    rows = [{"path": path, "group": 5, "patient": name} for path, name in zip(paths, patients, strict=True)]
    write_csv(tmp_path / "split.csv", rows)

    assert read_units(tmp_path, paths[1:]) == (["5", "5"], unit)
