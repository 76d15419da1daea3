"""Evaluations: their files, their sentences and the table of the report, from contents of evaluation.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from brain_tumor_tl.evaluation.calibration import probability_metrics
from brain_tumor_tl.evaluation.intervals import run_intervals
from brain_tumor_tl.evaluation.ranking import softmax
from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.reporting.discover import Run, discover_runs
from brain_tumor_tl.reporting.evaluations import (
    check_place,
    comparison_sentence,
    evaluation_table,
    find_evaluations,
    save_evaluation,
    seen_sentences,
    sentences,
)

CLASSES = ("a", "b")
LABELS, LOGITS = np.array([0, 0, 1, 1]), np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.5, 1.0]])
SEEN = {
    "searched": True, "train": 3, "val": 1, "test": 0, "left_out": 0, "other_label": 0, "kept": False, "patients": None,
    "kinds": {"identical files": 3, "identical pixels": 0, "near copies": 1},
}  # fmt: skip


def contents(run: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Return the content of an evaluation.json."""
    digest = hashlib.sha256((run / "results.json").read_bytes()).hexdigest() if run else "digest"
    return {
        "schema": 1, "name": "hospital", "runs": [{"name": "resnet18-frozen-s0", "results_sha256": digest}],
        "data_set": {
            "root": "/data/hospital", "own": False, "images": 8, "evaluated": 4, "classes_without_images": [],
            "folders_left_out": [], "bad": [],
        },
        "protocol": {"synthetic": False, "nearest_neighbour": 0.5}, "seen": SEEN, "compared": None,
        "accuracy": 0.75, "balanced_accuracy": 0.75, "macro_f1": 0.73, "confusion_matrix": [[1, 1], [0, 2]],
        "classes": list(CLASSES), "classes_in_means": list(CLASSES),
        "intervals": run_intervals(LABELS, softmax(LOGITS), CLASSES),
        "probabilities": probability_metrics(LOGITS, LABELS, CLASSES, 2.0),
        **changes,
    }  # fmt: skip


Put = Callable[..., Run]


@pytest.fixture
def put(put_run: Callable[..., Path], tmp_path: Path) -> Put:
    """Write a finished run with an evaluation: `put(name, **changes of its content)`."""

    def write(name: str = "hospital", **changes: Any) -> Run:
        folder = tmp_path / "runs" / "resnet18-frozen-s0"
        folder = folder if folder.is_dir() else put_run(tmp_path / "runs", "resnet18-frozen-s0")
        (folder / "evaluations" / name).mkdir(parents=True)
        text = json.dumps(contents(folder, **{"name": name, **changes}))
        (folder / "evaluations" / name / "evaluation.json").write_text(text)
        return Run(folder, read_json(folder / "results.json"))

    return write


@pytest.mark.parametrize("searched", [True, False])
def test_save_evaluation__files(searched: bool, tmp_path: Path) -> None:
    found = contents(seen={**SEEN, "searched": searched})
    rows = [{"path": "x.png", "class": "a", "run": "r", "split": "train", "copy": "y.png"}]

    for _ in range(2):  # the second time in place of the first
        written = save_evaluation(tmp_path / "new", found, ["1", "2", "3", "4"], LABELS, softmax(LOGITS), rows)

    assert sorted(written) == sorted(path.name for path in (tmp_path / "new").iterdir())
    assert ("seen.csv" in written) == searched
    assert read_json(tmp_path / "new" / "evaluation.json")["accuracy"] == 0.75
    assert [row["correct"] for row in read_csv(tmp_path / "new" / "predictions.csv")] == ["1", "0", "1", "1"]
    assert (tmp_path / "new" / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")


def test_check_place__of_another_data_set(put: Put, tmp_path: Path) -> None:
    place = put(data_set={**contents()["data_set"], "root": str(tmp_path / "a" / "inner")}).folder / "evaluations"

    check_place(place / "hospital", tmp_path / "a" / "inner")
    check_place(place / "hospital", tmp_path / "a")  # the folder around it
    check_place(place / "absent", tmp_path / "b")
    with pytest.raises(ValueError, match=r"a new name for the evaluation of .*b, .* holds that of .*Give --name NAME"):
        check_place(place / "hospital", tmp_path / "b")


def test_find_evaluations__of_the_current_weights(put: Put) -> None:
    put("first")
    put("stale", runs=[{"name": "resnet18-frozen-s0", "results_sha256": "of an earlier training"}])
    run = put("broken")
    (run.folder / "evaluations" / "broken" / "evaluation.json").write_text("{")

    found, problems = find_evaluations([run])

    assert [each.results["name"] for each in found] == ["first"]
    assert len(problems) == 2
    assert "broken can't be read" in problems[0]
    assert "stale is of earlier weights or of another version: repeat it." in problems[1]


def test_discover_runs__passes_over_evaluations(put: Put) -> None:
    run = put()
    (run.folder / "evaluations" / "hospital" / "results.json").write_text("{}")

    assert [each.folder for each in discover_runs([run.folder]).runs] == [run.folder]


def test_evaluation_table__rows_and_notes(put: Put) -> None:
    own = {**contents()["data_set"], "own": True}
    put("own-test", seen=None, data_set=own, protocol={"synthetic": True, "nearest_neighbour": None})
    put("of b alone", classes_in_means=["b"])
    run = put("mean", runs=[*contents()["runs"], {"name": "other"}])
    digest = contents(run.folder)["runs"][0]
    for path in (run.folder / "evaluations").glob("*/evaluation.json"):
        found = read_json(path)
        path.write_text(json.dumps(found | {"runs": [digest, *found["runs"][1:]]}))

    table = evaluation_table(find_evaluations([run])[0])
    narrow = evaluation_table(find_evaluations([run])[0], narrow=True)

    rows = {row[1]: row for row in table.rows}
    assert rows["own-test"][2:5] == ("4", "-", "75.00")
    assert rows["of b alone"][3] == "4 left out"
    assert rows["of b alone"][6:9] == ("50.00", "75.00", "75.00")
    assert rows["mean"][0] == "resnet18-frozen-s0, mean of 2 runs"
    assert any("means without a" in note for note in table.notes)
    assert any("SYNTHETIC" in note for note in table.notes)
    assert [row[1:7] for row in table.rows] == [row[1:] for row in narrow.rows]
    assert [row[0] for row in narrow.rows] == ["run 1", "resnet18-frozen-s0", "resnet18-frozen-s0"]
    assert narrow.notes[0] == "run 1: resnet18-frozen-s0, mean of 2 runs"


def said(**changes: Any) -> str:
    """Return the sentences of an evaluation."""
    return "\n".join(f"{title}: {text}" for title, text in sentences(contents(**changes)))


def test_sentences__of_another_set() -> None:
    images = {
        **contents()["data_set"], "classes_without_images": ["b"], "folders_left_out": ["GBM"],
        "labels_left_out": {"abscess": 2, "": 1}, "bad": [["x.png", "truncated"]],
    }  # fmt: skip

    text = said(data_set=images)

    assert "4 of 8 in /data/hospital: another data set than the run's" in text
    assert "the set has no image of b" in text
    assert "of no class of the run: folder GBM, 2 images labelled abscess, 1 images without a label" in text
    assert "1 unreadable file(s)" in text
    assert (
        "4 of 8 images were seen: 3 in training, 1 in validation (3 identical files, 1 near copies); left out" in text
    )
    assert "1-NN on thumbnails 50.00 %" in text


SEEN_TEXTS = {
    "none": ({"train": 0, "val": 0, "kinds": {}}, "0 of 8 images were seen: none", "listed"),
    "kept": ({"kept": True}, "; kept, listed in seen.csv", "left out"),
    "unchecked": ({"searched": False}, "not known which images the run has seen", "were seen"),
    "labels": ({"other_label": 2}, "2 of these have another label in the run's data set", "external"),
    "same set": ({"test": 4}, "no image is new to the run's data set: this is no external test", "patients"),
    "patients": ({"patients": 2}, "2 of the other images are of patients who have images that were seen", "external"),
}


@pytest.mark.parametrize(("changes", "expected", "absent"), SEEN_TEXTS.values(), ids=SEEN_TEXTS)
def test_seen_sentences__what_the_run_knows(changes: dict[str, Any], expected: str, absent: str) -> None:
    text = "\n".join(sentence for _, sentence in seen_sentences({**SEEN, **changes}, contents()["data_set"]))

    assert expected in text
    assert absent not in text


def test_comparison_sentence__same_or_by_how_much() -> None:
    same = {"figures": {}, "predictions": 0, "largest_difference": 0.0, "device": ["x", "x"], "precision": ["p", "p"]}
    other = {
        **same, "figures": {"accuracy": [0.5, 0.75], "loss": [1, 2]}, "predictions": 1, "largest_difference": 0.00123,
        "device": ["x", "y"],
    }  # fmt: skip

    assert comparison_sentence(same, 4) == "every figure is that of results.json, to the digit"
    assert comparison_sentence(other, 4) == (
        "accuracy 50.00 then, 75.00 now; 1 of 4 predictions differ, probabilities by at most 0.0012; computed on x, p "
        "then, on y, p now"
    )
    rounded = comparison_sentence({**other, "figures": {"loss": [1, 2]}, "device": ["x", "x"]}, 4)
    assert rounded.startswith("the same accuracy as in results.json; 1 of 4")
    assert rounded.endswith("; on the same kind of device")
