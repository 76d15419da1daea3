"""Folders: two runs compared from what they left, and refused where that doesn't compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from brain_tumor_tl.evaluation.comparison import difference_interval, compare_with_best, mcnemar_exact
from brain_tumor_tl.files import write_csv
from brain_tumor_tl.reporting.predictions import common_groups, compare_runs, read_groups, sets_of_runs, tell_apart

FIRST = [True] * 60 + [True] * 9 + [False] * 2 + [False] * 9
SECOND = [True] * 60 + [False] * 9 + [True] * 2 + [False] * 9


def leave(folder: Path, hits: Sequence[bool], groups: Sequence[object] | None = None, start: int = 0) -> Path:
    """Write what a run leaves that has these images right, from image number `start`; return its folder."""
    folder.mkdir(parents=True)
    paths = [f"glioma_tumor/gg ({start + number}), é.jpg" for number in range(len(hits))]
    label = [number % 4 for number in range(len(hits))]
    predictions = [
        {"path": path, "label": true, "class": "x", "predicted": "y", "correct": int(hit), "probability/x": "0.5"}
        for path, true, hit in zip(paths, label, hits, strict=True)
    ]
    write_csv(folder / "predictions.csv", predictions)
    split = [{"path": path, "label": true, "part": "test"} for path, true in zip(paths, label, strict=True)]
    if groups is not None:
        split = [{**row, "group": group} for row, group in zip(split, groups, strict=True)]
    write_csv(folder / "split.csv", [{"path": "other.jpg", "label": 0, "part": "train"}, *split])
    return folder


def test_compare_runs__by_image(tmp_path: Path) -> None:
    result = compare_runs(leave(tmp_path / "a", FIRST), leave(tmp_path / "b", SECOND))

    assert (result["images"], result["unit"], result["units"], result["only_right"]) == (80, "image", 80, [9, 2])
    assert result["accuracy"] == [69 / 80, 62 / 80]
    assert result["difference"] == pytest.approx(7 / 80)
    assert result["test"] == "McNemar, exact"
    assert result["p_value"] == mcnemar_exact(np.array(FIRST), np.array(SECOND))
    assert result["interval"] == difference_interval(np.array(FIRST), np.array(SECOND))


def test_compare_runs__by_group(tmp_path: Path) -> None:
    groups = [number // 8 for number in range(80)]
    result = compare_runs(leave(tmp_path / "a", FIRST, groups), leave(tmp_path / "b", SECOND, groups))

    assert (result["unit"], result["units"], result["test"]) == ("group", 10, "exchange by group, exact")
    assert result["interval"] == difference_interval(np.array(FIRST), np.array(SECOND), groups)
    assert result["p_value"] > mcnemar_exact(np.array(FIRST), np.array(SECOND))


def test_compare_runs__rows_in_another_order(tmp_path: Path) -> None:
    one, other = leave(tmp_path / "a", FIRST), leave(tmp_path / "b", SECOND)
    before = compare_runs(one, other)
    header, *rows = (other / "predictions.csv").read_text(encoding="utf-8").splitlines()
    (other / "predictions.csv").write_text("\n".join([header, *rows[::-1]]) + "\n", encoding="utf-8")

    assert compare_runs(one, other) == before


def test_compare_runs__other_images(tmp_path: Path) -> None:
    one, other = leave(tmp_path / "a", FIRST), leave(tmp_path / "b", SECOND, start=30)

    with pytest.raises(ValueError, match=r"80 images in .*a and 80 in .*b, 50 of them in both"):
        compare_runs(one, other)


def test_compare_runs__other_labels(tmp_path: Path) -> None:
    one, other = leave(tmp_path / "a", FIRST), leave(tmp_path / "b", SECOND)
    text = (other / "predictions.csv").read_text(encoding="utf-8")
    (other / "predictions.csv").write_text(text.replace(",3,x", ",2,x", 1), encoding="utf-8")

    with pytest.raises(ValueError, match=r"same test images and labels.* 80 of them in both"):
        compare_runs(one, other)


BAD = {
    "absent": (None, r"predictions.csv can't be read"),
    "empty": ("", "Expected path, label and correct of each test image"),
    "other-columns": ("path,label\na,0\n", "Expected path, label and correct of each test image"),
    "twice": ("path,label,correct\na,0,1\na,0,0\n", "each image once .* got a more than once"),
}


@pytest.mark.parametrize(("content", "match"), BAD.values(), ids=BAD)
def test_compare_runs__bad_file(content: str | None, match: str, tmp_path: Path) -> None:
    one, other = leave(tmp_path / "a", FIRST), leave(tmp_path / "b", SECOND)
    (other / "predictions.csv").unlink() if content is None else (other / "predictions.csv").write_text(content)

    with pytest.raises(ValueError, match=match):
        compare_runs(one, other)


def test_read_groups__absent_column_and_gaps(tmp_path: Path) -> None:
    plain = read_groups(leave(tmp_path / "a", [True, False]))
    known = read_groups(leave(tmp_path / "b", [True, False], ["g1", "g2"]))

    assert plain == {}
    assert list(known.values()) == ["g1", "g2"]
    assert common_groups(plain, list(known)) is None
    assert common_groups(known, list(known)[::-1]) == ["g2", "g1"]
    assert common_groups(known, [*known, "unknown.jpg"]) is None


def test_tell_apart__each_split_by_itself(tmp_path: Path) -> None:
    folders = [
        leave(tmp_path / "s0" / "good", FIRST),
        leave(tmp_path / "s1" / "good", FIRST, start=500),
        leave(tmp_path / "s0" / "bad", [False] * 80),
        leave(tmp_path / "s1" / "close", SECOND, start=500),
        leave(tmp_path / "s2" / "alone", FIRST, start=900),
    ]
    (tmp_path / "unfinished").mkdir()

    table = tell_apart([*folders, tmp_path / "unfinished"])

    good0, good1, bad, close, _ = folders
    assert sets_of_runs(folders) == [[good0, bad], [good1, close]]
    assert {folder: row["tied_with_best"] for folder, row in table.items()} == {
        good0: True, bad: False, good1: True, close: True,
    }  # fmt: skip
    assert table[close]["best_run"] == good1
    assert table[close]["runs"] == 2
    expected = compare_with_best({"a": np.array(FIRST), "b": np.array(SECOND)})["b"]["p_value"]
    assert table[close]["p_value"] == expected
