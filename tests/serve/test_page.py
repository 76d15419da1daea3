"""Page: probabilities, maps and warnings as HTML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.reporting.leaderboard import in_percent
from brain_tumor_tl.reporting.results_file import read_results
from brain_tumor_tl.serve.page import page
from tests.serve.conftest import Examiner, png


@pytest.fixture
def plain(results: dict[str, Any], examiner: Examiner) -> str:
    """The page of a picture like the training images."""
    return page(results, "slice.png", examiner.answer)


def test_page__ranks_the_classes(plain: str) -> None:
    rows = re.findall(r'<tr><th scope="row">(\w+)</th><td class="number">([^<]+)</td><td><div class="bar"', plain)

    assert rows == [
        ("pituitary_tumor", "90.0 %"),
        ("meningioma_tumor", "7.0 %"),
        ("glioma_tumor", "3.0 %"),
        ("no_tumor", "&lt; 0.1 %"),
    ]
    assert '<p class="verdict"><strong>pituitary_tumor</strong> 90.0 %</p>' in plain


def test_page__shows_the_picture_then_the_maps_by_probability(plain: str) -> None:
    captions = re.findall(r"<figcaption>([^<]+)</figcaption>", plain)

    assert captions == ["The picture as the network gets it", *(f"Grad-CAM: {name}" for name in (
        "pituitary_tumor", "meningioma_tumor", "glioma_tumor", "no_tumor"))]  # fmt: skip
    assert plain.count('src="data:image/png;base64,') == 5


def test_page__a_picture_unlike_the_training_images(results: dict[str, Any], examiner: Examiner, plain: str) -> None:
    unlike = page(results, "shoe.png", examiner.answer._replace(distance=0.8))

    assert "This picture is unlike the training images (distance 0.8000, above the threshold of 0.4000)" in unlike
    assert "unlike the training images (distance" not in plain
    assert "Distance to the training images 0.2000; above 0.4000 a picture is unlike them." in plain


def test_page__without_reference_and_maps(results: dict[str, Any], examiner: Examiner) -> None:
    answer = examiner.answer._replace(distance=None, threshold=None, maps={}, no_maps="No Grad-CAM: no map.")
    text = page(results, "slice.png", answer)

    assert "The run has no reference of its training images" in text
    assert "No Grad-CAM: no map." in text
    assert "Grad-CAM (Selvaraju" not in text


@pytest.mark.parametrize(
    ("probabilities", "words"),
    [
        ({"temperature": 1.351}, "calibrated with temperature 1.35, fitted on the validation split"),
        ({"temperature": None, "no_temperature": "it would be above 100"}, "not calibrated: it would be above 100."),
        (None, "not calibrated: the run is of an earlier version."),
    ],
    ids=["calibrated", "no-temperature", "older-version"],
)
def test_page__says_whether_probabilities_are_calibrated(
    results: dict[str, Any], examiner: Examiner, probabilities: dict[str, Any] | None, words: str
) -> None:
    assert words in page({**results, "probabilities": probabilities}, "slice.png", examiner.answer)


def test_page__synthetic_images_are_named(results: dict[str, Any]) -> None:
    protocol = {**results["protocol"], "synthetic": True}

    assert "trained on SYNTHETIC images" in page({**results, "protocol": protocol})
    assert "SYNTHETIC" not in page(results)


def test_page__of_many_classes_the_most_probable(results: dict[str, Any], examiner: Examiner) -> None:
    probabilities = {f"class_{number}": 1 / 40 + number / 10000 for number in range(40)}
    text = page(results, "slice.png", examiner.answer._replace(probabilities=probabilities, maps={"class_39": png()}))

    assert text.count('class="bar"') == 12
    assert "The 12 most probable of 40 classes." in text


@pytest.mark.parametrize("name", ["seed_0", "series"])
def test_page__a_run_of_the_first_version(name: str) -> None:
    folder = Path(__file__).parents[1] / "reporting" / "schema_1" / name

    assert "Percent on the test split" in page(read_results(folder / "results.json"))


@pytest.mark.parametrize(
    ("probability", "text"),
    [(1.0, "> 99.9 %"), (0.9994, "99.9 %"), (0.0006, "0.1 %"), (0.0, "< 0.1 %"), (0.25, "25.0 %")],
)
def test_in_percent__is_never_certain(probability: float, text: str) -> None:
    assert in_percent(probability) == text
