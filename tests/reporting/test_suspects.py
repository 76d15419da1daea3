"""Suspects: planted wrong labels lead the list of a cross-validation, each picture once, if it still exists shown."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from brain_tumor_tl.cli.report import main, make_report
from brain_tumor_tl.files import write_csv, write_json
from brain_tumor_tl.reporting.document import as_html, as_markdown
from brain_tumor_tl.reporting.suspects import suspect_picture

MakeResults = Callable[..., dict[str, Any]]
CLASSES = ["a", "b"]


@pytest.fixture
def folded(make_results: MakeResults, tmp_path: Path) -> Path:
    """A cross-validation in two folds of 20 images: three labels are contradicted, 3 and 5 by 0.9 and 14 by 0.7.

    Image 5 is a copy of 3, and 7 one of 14 with the other label.
    """
    (tmp_path / "images").mkdir()
    for fold in (0, 1):
        rows = []
        for number in range(10 * fold, 10 * fold + 10):
            label, wrong = number % 2, {3: 0.9, 5: 0.9, 14: 0.7}.get(number, 0.2)
            own, other = f"probability/{CLASSES[label]}", f"probability/{CLASSES[1 - label]}"
            rows.append(
                {
                    "path": f"{number}.png",
                    "class": CLASSES[label],
                    "predicted": CLASSES[label if wrong < 0.5 else 1 - label],
                    "label": label,
                    "correct": int(wrong < 0.5),
                    own: 1 - wrong,
                    other: wrong,
                }
            )
            Image.fromarray(np.full((8, 8), number, dtype=np.uint8)).save(tmp_path / "images" / f"{number}.png")
        results = make_results(
            "resnet18-frozen-s0", 0.9, classes=CLASSES, confusion_matrix=[[5, 0], [1, 4]],
            protocol={"fold": fold, "folds": 2},
            config={"data": {"root": str(tmp_path / "images"), "fold": fold}},
        )  # fmt: skip
        (tmp_path / "runs" / str(fold)).mkdir(parents=True)
        write_json(tmp_path / "runs" / str(fold) / "results.json", results)
        write_csv(tmp_path / "runs" / str(fold) / "predictions.csv", rows)
        copies = {f"{number}.png": {5: 3, 7: 14}.get(number, number) for number in range(20)}
        split = [
            {
                "path": path,
                "class": CLASSES[number % 2],
                "split": "test" if number // 10 == fold else "train",
                "copies": group,
            }
            for number, (path, group) in enumerate(copies.items())
        ]
        write_csv(tmp_path / "runs" / str(fold) / "split.csv", split)
    return tmp_path / "runs"


def test_report__lists_the_labels_to_review(folded: Path) -> None:
    assert main([str(folded)]) == 0

    with (folded / "suspects.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rank"], row["path"], row["label"], row["predicted"]) for row in rows] == [
        ("1", "3.png", "b", "a"), ("1", "5.png", "b", "a"), ("2", "14.png", "a", "b"),
    ]  # fmt: skip
    assert [float(row["label_probability"]) for row in rows] == pytest.approx([0.1, 0.1, 0.3])
    for name in ("report.html", "report.md"):
        page = (folded / name).read_text(encoding="utf-8")
        assert "Labels to review, the most contradicted first" in page
        assert "the length of the list says nothing about the number of wrong labels" in page
        assert "3.png" in page
        assert "5.png" not in page, "the same picture"


def test_report__labels_to_review_without_known_copies(folded: Path) -> None:
    for fold in ("0", "1"):
        write_csv(folded / fold / "split.csv", [{"path": f"{number}.png"} for number in range(20)])

    (suspects,) = make_report([folded], folded).suspects

    assert [(row["rank"], row["path"]) for row in suspects.rows] == [(1, "3.png"), (2, "14.png"), (3, "5.png")]


def test_suspect_picture__of_images_that_are_still_there(folded: Path) -> None:
    (suspects,) = make_report([folded], folded).suspects

    assert suspect_picture(suspects) is not None
    assert "Without pictures" not in as_html(make_report([folded], folded))
    (folded.parent / "images" / "14.png").unlink()
    assert suspect_picture(suspects) is None
    assert "Without pictures, since the images are not where the runs had them" in as_html(
        make_report([folded], folded)
    )


def test_find_suspects__none_without_all_folds(folded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folded / "1" / "results.json").unlink()

    report = make_report([folded], folded)

    assert not report.suspects
    assert "Labels to review" not in as_markdown(report)
    assert main([str(folded), "--suspects", str(folded / "list.csv")]) == 1
    assert "all folds of a cross-validation" in capsys.readouterr().err
    assert not (folded / "suspects.csv").exists()
