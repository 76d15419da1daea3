"""Protocol text: each known property of a split is stated, and nothing that was not computed."""

from __future__ import annotations

from typing import Any

import pytest

from brain_tumor_tl.reporting.protocol_text import describe_protocol, summarize_kind, summarize_splits

PROTOCOL: dict[str, Any] = {
    "title": "random split of single images",
    "test_images": 653,
    "identical_in_training": 116,
    "copies_in_training": 131,
    "groups_in_several_splits": 111,
    "patients_in_several_splits": None,
    "missing_classes": {},
    "left_out": 0,
    "nearest_neighbour": 0.91577,
}


def test_describe_protocol__random() -> None:
    assert describe_protocol(PROTOCOL) == (
        "Random split of single images. 116 of 653 test images have a pixel-identical copy in the training split, "
        "131 an identical or near copy. 111 group(s) of copies are in several splits. Patients are not known. "
        "A nearest-neighbour (1-NN) baseline on thumbnails scores 91.58 %."
    )


KNOWN = {
    "known_patients": 327, "patients_in_training": 0, "patients_in_several_splits": 0, "images_without_patient": 0,
}  # fmt: skip
STATED: dict[str, tuple[dict[str, Any], str]] = {
    "missing classes": ({"missing_classes": {"test": ["a", "b"]}}, "The test split has no image of a or b."),
    "left out": ({"left_out": 15}, "15 image(s) are left out."),
    "all patients apart": (KNOWN | {"known_patients": 653}, "No patient is in several splits."),
    "half of the patients apart, D21": (
        KNOWN | {"images_without_patient": 2000},
        "0 of the 327 test images of known patients have their patient in the training split; of the other 326 it is "
        "not known.",
    ),
    "test images of known patients, training images not": (
        KNOWN | {"known_patients": 653, "images_without_patient": 2},
        "0 of the 653 test images of known patients have their patient in the training split.",
    ),
    "no test image's patient": (
        KNOWN | {"known_patients": 0, "images_without_patient": 653},
        "The patient of no test image is known.",
    ),
    "patients in training": (
        KNOWN | {"patients_in_training": 320, "patients_in_several_splits": 180},
        "320 of the 327 test images of known patients have their patient in the training split; of the other 326",
    ),
    "an older file, apart": ({"patients_in_several_splits": 0}, "No known patient is in several splits."),
    "an older file": ({"patients_in_several_splits": 3}, "3 patient(s) are in several splits."),
    "control": ({"shuffled_labels": True}, "CONTROL: trained on permuted labels"),
    "no near copies": ({"copies_in_training": None}, "near copies were not searched for"),
    "no copies": ({"identical_in_training": None}, "Copies of test images in the training split were not searched for"),
}


@pytest.mark.parametrize(("changes", "expected"), STATED.values(), ids=STATED)
def test_describe_protocol__case(changes: dict[str, Any], expected: str) -> None:
    assert expected in describe_protocol(PROTOCOL | changes)
    assert expected not in describe_protocol(PROTOCOL)


def test_describe_protocol__nothing_unknown_is_stated() -> None:
    unknown = dict.fromkeys(PROTOCOL) | {"title": "random split of single images"}

    assert "None" not in describe_protocol(unknown)
    assert "%" not in describe_protocol(unknown)


def test_summarize_splits__one_line_for_each_kind_of_split() -> None:
    title = "k-fold split of whole series, fold {} of 5"
    folds = [PROTOCOL | {"title": title.format(fold), "copies_in_training": 0} for fold in (0, 1)]
    runs = [{"protocol": protocol} for protocol in (*folds, PROTOCOL, PROTOCOL | {"nearest_neighbour": 0.93})]

    assert summarize_splits(runs) == [
        "k-fold split of whole series: 0 of 653 test images have a copy in training; patients not known; "
        "1-NN baseline 91.58 %",
        "random split of single images: 131 of 653 test images have a copy in training; patients not known; "
        "1-NN baseline 91.58 to 93.00 %",
    ]


def test_summarize_splits__runs_without_a_description() -> None:
    assert summarize_splits([{"protocol": {"split": "random"}}]) == []


def test_summarize_kind__unknown_missing_and_control() -> None:
    unknown = PROTOCOL | {"copies_in_training": None, "nearest_neighbour": None}
    control = {"identical_in_training": None, "missing_classes": {"test": ["a"]}, "shuffled_labels": True}

    assert summarize_kind([unknown]) == (
        "116 of 653 test images have a pixel-identical copy in training (near copies not searched); patients not known"
    )
    assert summarize_kind([unknown | control]) == (
        "copies were not searched for; patients not known; no test image of a; CONTROL with permuted labels"
    )


def test_summarize_kind__patients() -> None:
    runs = [PROTOCOL | KNOWN | {"patients_in_training": trained} for trained in (320, 323)]

    assert "; 320 to 323 of the 327 with a known patient have it in training; " in summarize_kind(runs)
    assert "; patients not known; " in summarize_kind([PROTOCOL | {"known_patients": 0, "patients_in_training": 0}])


@pytest.mark.parametrize("half", [KNOWN, {"patients_in_several_splits": 0}], ids=["now", "older file"])
def test_describe_protocol__D21_half_of_the_patients_known(half: dict[str, Any]) -> None:
    known = PROTOCOL | half | {"images_without_patient": 1600}

    assert "No patient is in" not in describe_protocol(known)
