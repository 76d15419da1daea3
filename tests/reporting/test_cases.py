"""Cases: worst errors first, and pictures under several labels are never hidden."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from brain_tumor_tl.reporting.cases import RIGHT, WRONG, Case, cases_of, choose, copies_by_path, several_labels
from brain_tumor_tl.reporting.run_files import RunFiles

SPLIT = [
    {"path": "a/1.png", "class": "a", "split": "test", "copies": "0"},
    {"path": "b/1.png", "class": "b", "split": "train", "copies": "0"},
    {"path": "a/2.png", "class": "a", "split": "test", "copies": "1"},
    {"path": "a/3.png", "class": "a", "split": "train", "copies": "1"},
    {"path": "b/4.png", "class": "b", "split": "test", "copies": "2"},
]


def row(path: str, truth: str, of_a: float) -> dict[str, str]:
    """Return a row of predictions.csv of two classes."""
    label, predicted = "ab".index(truth), "a" if of_a > 0.5 else "b"
    return {
        "path": path, "label": str(label), "class": truth, "predicted": predicted,
        "correct": str(int(predicted == truth)), "probability/a": str(of_a), "probability/b": str(1 - of_a),
    }  # fmt: skip


def files(rows: list[dict[str, str]], split: list[dict[str, str]] | None = None) -> RunFiles:
    """Return a run of two classes with these tables."""
    results = {"classes": ["a", "b"], "protocol": {}}
    return RunFiles(Path("run"), results, [], rows, SPLIT if split is None else split)


def test_cases_of__reads_truth_prediction_and_copies() -> None:
    found = cases_of(files([row("a/1.png", "a", 0.1), row("a/2.png", "a", 0.9), row("b/4.png", "b", 0.2)]))

    assert found == [
        Case("a/1.png", "a", "b", 0.9, 0.1, ("b",), True),
        Case("a/2.png", "a", "a", 0.9, 0.9, (), True),
        Case("b/4.png", "b", "b", 0.8, 0.8, (), False),
    ]
    assert found[0].loss == pytest.approx(-math.log(0.1))


def test_cases_of__without_a_search_for_copies_nothing_is_said_of_them() -> None:
    split = [{key: value for key, value in one.items() if key != "copies"} for one in SPLIT]

    (case,) = cases_of(files([row("a/1.png", "a", 0.1)], split))

    assert (case.other_labels, case.trained) == ((), None)
    assert several_labels(split) is None


def test_cases_of__a_run_without_probabilities_has_none() -> None:
    assert cases_of(files([{"path": "a/1.png", "label": "0", "correct": "1"}])) == []


def test_choose__worst_and_surest_first() -> None:
    wrong = [row(f"a/{number}.png", "a", 0.01 * (1 + number * 7 % 20)) for number in range(20)]
    right = [row(f"b/{number}.png", "b", 0.02 * number) for number in range(20)]

    gallery = choose(cases_of(files([*right, *wrong], [])))

    assert gallery.total == 20
    assert [case.of_truth for case in gallery.wrong] == sorted(0.01 * (1 + n) for n in range(20))[:WRONG]
    assert [case.path for case in gallery.right] == [f"b/{number}.png" for number in range(RIGHT)]


def test_choose__an_error_under_two_labels_is_shown_however_small() -> None:
    wrong = [row(f"a/{number}.png", "a", 0.01) for number in range(10, 40)]

    gallery = choose(cases_of(files([*wrong, row("a/1.png", "a", 0.49)])))

    assert gallery.total == 31
    assert [case.path for case in gallery.wrong[WRONG:]] == ["a/1.png"]


def test_case__a_probability_of_zero_is_the_worst() -> None:
    assert Case("a", "a", "b", 1.0, 0.0).loss == math.inf


def test_several_labels__only_pictures_of_different_classes() -> None:
    assert several_labels(SPLIT) == [SPLIT[:2]]
    assert set(copies_by_path(SPLIT)) == {one["path"] for one in SPLIT}
