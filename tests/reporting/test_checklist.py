"""Checklist: every item of both lists is named, filled from results where a run knows, else left to the author."""

from __future__ import annotations

import re
from typing import Any

import pytest

from brain_tumor_tl.reporting.checklist import AUTHOR, ITEMS, checklist, checklist_table

RESULTS: dict[str, Any] = {
    "model": "resnet18",
    "method": "frozen",
    "seed": 3,
    "epochs": 100,
    "classes": ["no_tumor", "glioma_tumor"],
    "accuracy": 0.75,
    "balanced_accuracy": 0.7,
    "macro_f1": 0.65,
    "per_class": {"no_tumor": {"support": 1}, "glioma_tumor": {"support": 3}},
    "confusion_matrix": [[0, 1], [0, 3]],
    "protocol": {
        "split": "grouped", "title": "random split of whole groups", "stratify": True, "monitored": "test",
        "counts": {"train": 9, "val": 0, "test": 4}, "accuracy_of": "last epoch", "synthetic": False, "left_out": 2,
        "test_images": 4, "identical_in_training": 0, "copies_in_training": 1, "nearest_neighbour": 0.5,
    },
    "config": {
        "data": {
            "source": "folder", "image_size": 224, "normalize": "unit", "batch_size": 32, "on_bad_file": "error",
            "labels": None,
        },
        "model": {"weights": "IMAGENET1K_V1"},
        "optimizer": {"name": "Adam", "lr": 0.001},
        "scheduler": {"name": None},
        "loss": {"class_weights": None},
    },
    "environment": {
        "digests": {"data": "d" * 64, "weights": "w" * 64},
        "packages": {"brain_tumor_tl": "0.1.0", "torch": "2", "torchvision": "0", "lightning": "2"},
        "device": "CPU", "precision": "32-true", "git_commit": "abc",
    },
}  # fmt: skip


def known(claim: str) -> str:
    """Return what a run knows of an item of CLAIM."""
    (row,) = [row for row in checklist(RESULTS) if row["claim"] == claim]
    return row["known"]


def numbers(texts: list[str]) -> set[int]:
    """Return the whole numbers that texts such as `5, 6`, `14-16` and `27a-27c` stand for."""
    found = set()
    for text in texts:
        for part in filter(None, text.split(", ")):
            ends = [int(end) for end in re.findall(r"\d+", part)]
            found |= set(range(ends[0], ends[-1] + 1))
    return found


def test_checklist__names_every_item_of_both_lists() -> None:
    assert numbers([item.claim for item in ITEMS]) == set(range(1, 45))
    # 24, the updating of a model that is in use, is of studies that this package doesn't make.
    assert set(range(1, 28)) - numbers([item.tripod for item in ITEMS]) == {24}


FILLED = {
    "19": "random split of whole groups, seed 3, stratified by class: 9 train, 0 val, 4 test",
    "20": "0 of 4 test images have a twin .* 1 a copy, near ones included. Patients are not known",
    "21": "1 no_tumor, 3 glioma_tumor",
    "8": r"by the split 2 image\(s\)",
    "24": "IMAGENET1K_V1 .digest wwwwwwwwwwwwwwww.",
    "26, 27": "last epoch; no ensemble. THE TEST PART WAS MONITORED",
    "28, 29": r"accuracy 0.7500 \(no interval\), balanced_accuracy 0.7000, macro_f1 0.6500",
    "39": "1 of 4 wrong",
    "33": AUTHOR,
    "28": AUTHOR,
}


@pytest.mark.parametrize(("claim", "expected"), FILLED.items(), ids=list(FILLED))
def test_checklist__known(claim: str, expected: str) -> None:
    assert re.search(expected, known(claim))


def test_checklist__interval_where_there_is_one() -> None:
    rows = checklist(RESULTS | {"intervals": {"accuracy": [0.5, 0.9]}})

    assert [row for row in rows if "95 % interval 0.5000 to 0.9000" in row["known"]]


def test_checklist__a_full_run_answers_all_it_can() -> None:
    found = {"probabilities": {"auroc": 0.9, "calibration_error": 0.1}}
    rows = checklist(RESULTS | found)

    unanswered = [row["asked"] for row, item in zip(rows, ITEMS, strict=True) if item.known and row["known"] == AUTHOR]
    assert unanswered == []


def test_checklist__empty_results_are_left_to_the_author() -> None:
    known = {row["known"] for row in checklist({})}

    assert known <= {AUTHOR, f"retrospective; the goal: {AUTHOR}"} | {row["known"] for row in checklist(RESULTS)}
    assert not any("None" in text for text in known)


def test_checklist_sheet__a_row_for_each_item() -> None:
    table = checklist_table(RESULTS | {"name": "resnet18-frozen-s3"}, runs=5)

    assert len(table.rows) == len(ITEMS)
    assert table.title.endswith("resnet18-frozen-s3, the first of 5 runs that differ in seed or fold")
    answered = sum(row[3] != AUTHOR for row in table.rows)
    assert table.notes == (
        f"{answered} of {len(ITEMS)} items have an answer from the run, some in part; the others are {AUTHOR}.",
    )
    assert 0 < answered < len(ITEMS)


def test_checklist__interval_by_group_where_groups_are_known() -> None:
    intervals = {"unit": "group", "accuracy": [0.5, 0.9], "accuracy_bootstrap": [0.4, 0.95]}
    known = {row["claim"]: row["known"] for row in checklist(RESULTS | {"intervals": intervals})}

    assert "0.4000 to 0.9500, bootstrap by group of copies" in known["28, 29"]
