"""Headline: the sentences say what the numbers say, and what nobody looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from brain_tumor_tl.reporting.headline import baseline_sentence, copies_sentence, headline, patients_sentence

MakeResults = Callable[..., dict[str, Any]]
INTERVALS = {"unit": "patient", "accuracy": [0.88, 0.92], "accuracy_bootstrap": [0.85, 0.95]}


def test_headline__a_run_with_everything(make_results: MakeResults) -> None:
    known = {
        "nearest_neighbour": 0.8, "identical_in_training": 1, "copies_in_training": 3, "test_images": 80,
        "known_patients": 50, "patients_in_training": 40,
    }  # fmt: skip
    text = " ".join(headline(make_results(accuracy=0.9, protocol=known, intervals=INTERVALS)))

    assert text == (
        "It names the class of 90.00 % of 80 test images rightly (95 % interval 85.00 to 95.00 %, resampling whole "
        "patients). That is better than what needs no learning: copying the label of the most similar training image "
        "in small (1-NN, no network) gives 80.00 %, and always naming the most frequent class gives 25.00 %. 3 test "
        "images have a copy in the training split: their answers may be remembered. 40 of the 50 test images of known "
        "patients are of a patient in the training split, so expect less on new patients."
    )


def test_headline__a_run_of_an_earlier_version(make_results: MakeResults) -> None:
    found = headline(make_results(accuracy=0.9))

    assert found[0] == "It names the class of 90.00 % of 80 test images rightly."
    assert found[1] == "For comparison, always naming the most frequent class gives 25.00 %."
    assert len(found) == 4


@pytest.mark.parametrize(
    ("nearest", "verdict"),
    [
        (0.84, "better than"),
        (0.86, "not clearly different from"),
        (0.95, "not clearly different"),
        (0.96, "worse than"),
    ],
)
def test_baseline_sentence__goes_by_the_interval(make_results: MakeResults, nearest: float, verdict: str) -> None:
    results = make_results(accuracy=0.9, protocol={"nearest_neighbour": nearest}, intervals=INTERVALS)

    assert f"That is {verdict}" in baseline_sentence(results)


@pytest.mark.parametrize(
    ("protocol", "text"),
    [
        ({}, "Nobody looked for copies"),
        ({"identical_in_training": 0, "copies_in_training": None}, "No test image has a pixel-identical copy"),
        ({"identical_in_training": 0, "copies_in_training": 0}, "No test image has a copy in"),
        ({"identical_in_training": 2, "copies_in_training": None}, "2 test images have a pixel-identical copy"),
    ],
)
def test_copies_sentence__says_what_was_looked_for(protocol: dict[str, Any], text: str) -> None:
    assert copies_sentence(protocol).startswith(text)


@pytest.mark.parametrize(
    ("known", "trained", "text"),
    [
        (None, None, "are not known"),
        (0, None, "are not known"),
        (
            9,
            0,
            "No test image of a known patient has its patient in the training split; of the other 1 it is not known.",
        ),
        (10, 0, "has its patient in the training split."),
        (9, 4, "4 of the 9 test images of known patients are of a patient in the training split"),
    ],
)
def test_patients_sentence__says_what_is_known(known: int | None, trained: int | None, text: str) -> None:
    assert text in patients_sentence({"known_patients": known, "patients_in_training": trained, "test_images": 10})


def test_headline__permuted_labels_are_named(make_results: MakeResults) -> None:
    assert "permuted" in headline(make_results(protocol={"shuffled_labels": True}))[-1]
