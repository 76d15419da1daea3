"""Leakage in words: every figure of a split's facts is told, and nothing that nobody looked at."""

from __future__ import annotations

from typing import Any

import pytest

from brain_tumor_tl.reporting.protocol_text import kind_texts, leakage_text, summary_lines

FACTS: dict[str, Any] = {
    "title": "random split of single images",
    "test_images": 653,
    "identical_in_training": 116,
    "copies_in_training": 131,
    "groups_on_two_sides": 111,
    "patients_on_two_sides": None,
    "missing_classes": {},
    "left_out": 0,
    "nearest_neighbour": 0.91577,
}


def test_leakage_text__random() -> None:
    assert leakage_text(FACTS) == (
        "Random split of single images. 116 of 653 test images have a twin of identical pixels in the training part, "
        "131 a copy, near ones included. 111 group(s) of copies are on two sides. Patients are not known. "
        "A look-up of the nearest training thumbnail, which learns nothing, scores 91.58 %."
    )


TOLD: dict[str, tuple[dict[str, Any], str]] = {
    "missing class": ({"missing_classes": {"test": ["a", "b"]}}, "There is no a and no b in the test part."),
    "left out": ({"left_out": 15}, "15 image(s) are left out."),
    "patients apart": ({"patients_on_two_sides": 0}, "No patient is on two sides."),
    "patients": ({"patients_on_two_sides": 3}, "3 patient(s) are on two sides."),
    "control": ({"shuffled_labels": True}, "CONTROL: trained on permuted labels"),
    "no near copies": ({"copies_in_training": None}, "near copies were not looked for"),
    "nobody looked": ({"identical_in_training": None}, "have a copy in the training part is not known"),
}


@pytest.mark.parametrize(("facts", "expected"), TOLD.values(), ids=TOLD)
def test_leakage_text__case(facts: dict[str, Any], expected: str) -> None:
    assert expected in leakage_text(FACTS | facts)
    assert expected not in leakage_text(FACTS)


def test_leakage_text__nothing_but_what_is_known() -> None:
    unknown = dict.fromkeys(FACTS) | {"title": "random split of single images"}

    assert "None" not in leakage_text(unknown)
    assert "%" not in leakage_text(unknown)


def test_summary_lines__one_for_each_kind_of_split() -> None:
    folds = [FACTS | {"title": f"k-fold split of whole runs, fold {i} of 5", "copies_in_training": 0} for i in (0, 1)]
    runs = [{"protocol": facts} for facts in (*folds, FACTS, FACTS | {"nearest_neighbour": 0.93})]

    assert summary_lines(runs) == [
        "k-fold split of whole runs: 0 of 653 test images have a copy in training; nearest thumbnail 91.58 %",
        "random split of single images: 131 of 653 test images have a copy in training; "
        "nearest thumbnail 91.58 to 93.00 %",
    ]


def test_summary_lines__runs_that_tell_nothing() -> None:
    assert summary_lines([{"protocol": {"split": "random"}}]) == []


def test_kind_texts__unknown_missing_and_control() -> None:
    assert kind_texts([FACTS | {"copies_in_training": None, "nearest_neighbour": None}]) == [
        "116 of 653 test images have a twin in training"
    ]
    unknown = {"identical_in_training": None, "copies_in_training": None, "nearest_neighbour": None}
    told = kind_texts([FACTS | unknown | {"missing_classes": {"test": ["a"]}, "shuffled_labels": True}])
    assert told == ["copies were not looked for", "no test image of a", "CONTROL with permuted labels"]
