"""Answers: rows of predictions, JSON lines, ranked labels, and the file of features."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from brain_tumor_tl.inference.answers import columns, json_line, keeping_features, ranked, rows
from brain_tumor_tl.inference.predict import Predictions

CLASSES = ("no_tumor", "glioma_tumor")
PICTURES = [Path("a.png"), Path("bad.png"), Path("c.png")]


def run_with(threshold: float | None) -> Any:
    """Return what `rows` needs of a run."""
    reference = None if threshold is None else SimpleNamespace(threshold=threshold)
    return SimpleNamespace(classes=CLASSES, reference=reference, superclasses=None)


def batches(distances: list[list[float]]) -> list[Predictions]:
    """Return predictions of the three pictures, of which the second can't be read, in two batches."""
    probabilities, features = np.array([[0.1, 0.9], [0.75, 0.25]], np.float32), np.array([[1, 2], [3, 4]], np.float32)
    far = np.array(distances, np.float32)
    return [
        Predictions(probabilities[:1], features[:1], far[:, :1], ["", "no image"]),
        Predictions(probabilities[1:], features[1:], far[:, 1:], [""]),
    ]


def test_rows__one_for_each_picture_in_order() -> None:
    found = list(rows([run_with(0.3)], PICTURES, batches([[0.25, 0.5]])))

    assert found == [
        {
            "path": "a.png", "problem": "", "predicted": "glioma_tumor", "probability/no_tumor": 0.1,
            "probability/glioma_tumor": 0.9, "distance": 0.25, "unlike_training": 0,
        },
        {"path": "bad.png", "problem": "no image"},
        {
            "path": "c.png", "problem": "", "predicted": "no_tumor", "probability/no_tumor": 0.75,
            "probability/glioma_tumor": 0.25, "distance": 0.5, "unlike_training": 1,
        },
    ]  # fmt: skip
    assert {key for row in found for key in row} == set(columns(CLASSES))


def test_rows__without_anything_kept_of_training_images_have_no_distance() -> None:
    found = list(rows([run_with(None)], PICTURES, batches([[np.nan, np.nan]])))

    assert not any("distance" in row or "unlike_training" in row for row in found)


@pytest.mark.parametrize(("thresholds", "unlike"), [((0.1, 0.9), 1), ((0.9, 0.9), 0), ((None, 0.1), 1)])
def test_rows__of_several_runs_half_of_those_that_know_decide(thresholds: Any, unlike: int) -> None:
    runs = [run_with(threshold) for threshold in thresholds]
    far = [[np.nan if threshold is None else 0.5] * 2 for threshold in thresholds]

    first = next(rows(runs, PICTURES, batches(far)))

    assert (first["unlike_training"], first["distance"]) == (unlike, 0.5)


def test_rows__superclasses_are_sums() -> None:
    run = run_with(None)
    run.superclasses = {"tumor": ["glioma_tumor"], "any": list(CLASSES)}

    found = list(rows([run], PICTURES, batches([[np.nan] * 2])))

    assert [found[0][f"superclass/{name}"] for name in ("tumor", "any")] == [0.9, 1.0]
    assert "superclass/tumor" not in found[1], "it can't be read"
    assert json.loads(json_line(found[0], CLASSES))["superclasses"] == {"tumor": 0.9, "any": 1.0}
    assert "superclasses" not in json.loads(json_line(found[1], CLASSES))
    assert columns(CLASSES, above=["tumor"])[-4:] == ["superclass/tumor", "distance", "unlike_training", "problem"]


def test_json_line__has_everything_under_fixed_keys() -> None:
    first, bad, _ = (
        json.loads(json_line(row, CLASSES)) for row in rows([run_with(0.3)], PICTURES, batches([[0.4] * 2]))
    )

    assert first["probabilities"] == {"no_tumor": 0.1, "glioma_tumor": 0.9}
    assert (first["predicted"], first["unlike_training"], first["problem"]) == ("glioma_tumor", True, None)
    assert (bad["path"], bad["probabilities"], bad["unlike_training"]) == ("bad.png", None, None)
    assert bad["problem"] == "no image"
    assert first.keys() == bad.keys()


def test_ranked__the_least_probable_given_label_comes_first() -> None:
    found = rows([run_with(None)], PICTURES, batches([[np.nan] * 2]))

    order = ranked(found, {"a.png": "no_tumor", "bad.png": "no_tumor", "c.png": "no_tumor"})

    assert [(row["path"], row["class"], row["self_confidence"]) for row in order] == [
        ("a.png", "no_tumor", 0.1), ("c.png", "no_tumor", 0.75), ("bad.png", "no_tumor", None),
    ]  # fmt: skip
    assert set(order[0]) == set(columns(CLASSES, labelled=True)) - {"distance", "unlike_training"}


def test_keeping_features__a_row_for_each_picture_once_all_are_done(tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    kept = keeping_features(batches([[0.5, 0.5]]), path, 3)
    next(kept)
    assert not path.exists()

    assert len(list(kept)) == 1

    features = np.load(path)
    assert features.dtype == np.float32
    assert np.array_equal(features, np.array([[1, 2], [np.nan, np.nan], [3, 4]]), equal_nan=True)
    assert list(tmp_path.iterdir()) == [path]


def test_keeping_features__the_first_pictures_are_unreadable(tmp_path: Path) -> None:
    none = Predictions(np.zeros((0, 2)), np.zeros((0, 0)), np.zeros((1, 0)), ["no image"])  # type: ignore[arg-type]
    path = tmp_path / "features.npy"

    list(keeping_features([none, *batches([[0.5, 0.5]])], path, 4))

    assert np.isnan(np.load(path)).all(axis=1).tolist() == [True, False, True, False]
    list(keeping_features([none], path, 1))
    assert np.load(path).shape == (1, 0)
