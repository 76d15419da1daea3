"""Checklist: a real run answers what it can, and a key that results.json lacks is an error."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.files import read_json
from brain_tumor_tl.reporting.checklist import AUTHOR, checklist_table, items

# What an answer uses of results.json, by the start of its question.
USED = {
    "Which kind of model": ["model", "method", "classes"],
    "Where do the data": ["protocol.synthetic", "config.data.source", "environment.digests.data"],
    "Which images were left out": ["protocol.left_out", "config.data.on_bad_file"],
    "How were the images preprocessed": ["config.data.image_size", "config.data.normalize"],
    "Where do the labels": ["config.data.labels"],
    "How were images assigned": ["protocol.title", "seed", "protocol.stratify", "protocol.counts"],
    "How was the size": ["per_class.no_tumor.support"],
    "Which software": ["environment.packages.torch", "environment.device", "environment.precision"],
    "What are the initial": ["config.model.weights", "environment.digests.weights"],
    "How was the model trained": [
        "config.optimizer.name", "config.optimizer.lr", "config.scheduler.name", "epochs", "config.data.batch_size",
        "config.loss.class_weights", "config.data.augment",
    ],
    "How was the final model": ["protocol.accuracy_of", "protocol.monitored"],
    "How well does the final": ["accuracy", "balanced_accuracy", "macro_f1"],
    "How good are": ["probabilities.auroc", "probabilities.calibration_error"],
    "Which predictions": ["confusion_matrix"],
}  # fmt: skip


@pytest.fixture(scope="module", params=["frozen", "finetune"])
def results(request: pytest.FixtureRequest, finished_runs: dict[str, Path]) -> dict[str, Any]:
    """What a real run's results.json holds."""
    return read_json(finished_runs[request.param] / "results.json")


def answers(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the answers by question."""
    return {question: answer for _, question, answer in checklist_table(results).rows}


def answer_to(results: Mapping[str, Any], question: str) -> str:
    """Return the answer to the question that starts with some words."""
    (found,) = [answer for asked, answer in answers(results).items() if asked.startswith(question)]
    return found


def renamed(results: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return results with the last key of a path, such as `protocol.title`, under another name."""
    changed = copy.deepcopy(dict(results))
    *parents, key = path.split(".")
    place = changed
    for parent in parents:
        place = place[parent]
    place[f"{key}_renamed"] = place.pop(key)
    return changed


def used_keys() -> Iterator[str]:
    """Yield every key in USED."""
    for keys in USED.values():
        yield from keys


def test_checklist_table__a_real_run_answers_all_it_can(results: dict[str, Any]) -> None:
    found = answers(results)

    assert len(found) == len(items()) >= 35
    unanswered = {item["question"] for item in items() if "answer" not in item}
    assert {question for question, answer in found.items() if answer == AUTHOR} == unanswered
    assert 10 < len(unanswered) < len(found) / 2
    assert not any(re.search(r"None|\{|\}|  |\n", answer) for answer in found.values())


@pytest.mark.parametrize("key", used_keys())
def test_checklist_table__renamed_key_is_an_error(key: str, results: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"results.json of {results['name']} .*{key.split('.')[-1]}"):
        checklist_table(renamed(results, key))


def test_checklist_table__values_of_the_run(results: dict[str, Any]) -> None:
    protocol, data = results["protocol"], results["config"]["data"]
    counts = ", ".join(f"{count} {split_name}" for split_name, count in protocol["counts"].items())
    interval = "{:.4f} to {:.4f}".format(*results["intervals"]["accuracy"])
    matrix = results["confusion_matrix"]
    wrong = sum(map(sum, matrix)) - sum(matrix[i][i] for i in range(len(matrix)))
    expected = {
        "Which kind": f"{results['model']}, a convolutional network, transferred by {results['method']}",
        "Where do the data": "data.source=phantom, SYNTHETIC images; digest of all images and labels "
        + results["environment"]["digests"]["data"][:16],
        "Which images were left": "by the split 0 image(s); unreadable files: none",
        "How were the images pre": f"resized to {data['image_size']} x {data['image_size']}",
        "How were images assigned": f"{protocol['title']}, seed 0, stratified by class: {counts} (split.csv)",
        "How was the size": f"{results['per_class']['no_tumor']['support']} no_tumor",
        "Which software": f"torch {results['environment']['packages']['torch']}",
        "How was the model trained": f"{results['epochs']} epochs in batches of {data['batch_size']}",
        "How well does the final": f"accuracy {results['accuracy']:.4f} (95 % interval {interval}, Wilson)",
        "How good": f"expected calibration error {results['probabilities']['calibration_error']:.4f}",
        "Which predictions": f"{wrong} of {sum(map(sum, matrix))} wrong",
        "Was the model evaluated on external": AUTHOR,
    }
    for question, text in expected.items():
        assert text in answer_to(results, question)


@pytest.mark.parametrize(("unit", "told"), [("group", "group of copies"), ("patient", "patient")])
def test_checklist_table__interval_by_group(unit: str, told: str, results: dict[str, Any]) -> None:
    intervals = results["intervals"] | {"unit": unit, "accuracy_bootstrap": [0.4, 0.95]}

    answer = answer_to(results | {"intervals": intervals}, "How well does the final")

    assert f"0.4000 to 0.9500, bootstrap by {told})" in answer


def test_checklist_table__means_over_some_classes(results: dict[str, Any]) -> None:
    used = results["classes_in_means"]
    answers = [
        answer_to(results | {"classes_in_means": names}, "How well does the final") for names in (used, used[1:])
    ]

    assert "means over" not in answers[0]
    assert f"means over the 3 of 4 classes with test images, without {used[0]}; by class" in answers[1]


def test_checklist_table__run_of_an_older_version(results: dict[str, Any]) -> None:
    older = {key: value for key, value in results.items() if key not in ("intervals", "probabilities")}

    assert "(no interval)" in answer_to(older, "How well does the final")
    assert answer_to(older, "How good are") == AUTHOR


def test_checklist_table__undefined_metric(results: dict[str, Any]) -> None:
    probabilities = results["probabilities"] | {"auroc": None}

    assert answer_to(results | {"probabilities": probabilities}, "How good are").startswith("AUROC undefined")


@pytest.mark.parametrize(
    ("change", "question", "expected"),
    [
        ({"monitored": "test"}, "How was the final", "no ensemble. THE TEST SPLIT WAS MONITORED DURING TRAINING."),
        ({"monitored": "val"}, "How was the final", "no ensemble"),
        ({"test_images": 4, "identical_in_training": 0, "copies_in_training": 1}, "At which level", "1 "),
        ({"nearest_neighbour": 0.5}, "How well does a baseline", "50.00 %"),
        ({"left_out": 2}, "Which images were left", "by the split 2 image(s)"),
    ],
    ids=["test-monitored", "val-monitored", "copies", "baseline", "left-out"],
)
def test_checklist_table__protocol(
    change: dict[str, Any], question: str, expected: str, results: dict[str, Any]
) -> None:
    answer = answer_to(results | {"protocol": results["protocol"] | change}, question)

    assert expected in answer
    assert ("MONITORED" in answer) == (change.get("monitored") == "test")


def test_checklist_table__title_and_note(results: dict[str, Any]) -> None:
    table = checklist_table(results, runs=5)

    assert table.title.endswith(f"{results['name']}, the first of 5 runs that differ in seed or fold")
    answered = sum(row[2] != AUTHOR for row in table.rows)
    assert table.notes == (
        f"The run answers {answered} of {len(items())} questions, some in part; the others are {AUTHOR}.",
    )


def test_items__no_numbers_of_either_list() -> None:
    assert {key for item in items() for key in item} == {"topic", "question", "answer"}
    assert not any(re.match(r"\d", item["question"]) for item in items())
