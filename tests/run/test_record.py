"""Record: files written whole or not at all, and what they say of how the figures came about."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from brain_tumor_tl.run import record
from brain_tumor_tl.run.record import (
    best_epoch,
    environment,
    git_commit,
    mean_of,
    per_class,
    protocol,
)


def test_per_class__scikit_learn() -> None:
    generator = np.random.default_rng(0)
    labels, guesses = generator.integers(0, 3, 200), generator.integers(0, 3, 200)
    precision, recall, f1, support = precision_recall_fscore_support(labels, guesses)
    classes = ["a", "b", "c"]
    summary = {"accuracy": 0.3}
    for name, *values in zip(classes, precision, recall, f1, strict=True):
        summary |= {
            f"{metric}/{name}": value for metric, value in zip(("precision", "recall", "f1"), values, strict=True)
        }

    result = per_class(summary, classes, confusion_matrix(labels, guesses).tolist())

    assert list(result) == classes
    for label, name in enumerate(classes):
        expected = {"precision": precision[label], "recall": recall[label], "f1": f1[label]}
        assert result[name] == {**expected, "support": support[label]}
        assert type(result[name]["support"]) is int


def test_per_class__class_without_images() -> None:
    summary = {f"{metric}/{name}": 0.5 for metric in ("precision", "recall", "f1") for name in ("a", "b")}

    result = per_class(summary, ["a", "b"], [[1, 1], [0, 0]])

    assert result["a"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert result["b"] == {"precision": None, "recall": None, "f1": None, "support": 0}


def test_per_class__matrix_of_other_classes() -> None:
    with pytest.raises(ValueError, match="zip"):
        per_class({f"{metric}/a": 1.0 for metric in ("precision", "recall", "f1")}, ["a"], [[1, 0], [0, 1]])


ACCURACIES = {
    "first-of-two": ([0.5, 0.9, 0.8, 0.9], (0.9, 2)),
    "first-epoch": ([0.9, 0.9, 0.9], (0.9, 1)),
    "last-epoch": ([0.1, 0.2], (0.2, 2)),
    "seldom-monitored": ([None, 0.7, None, 0.7], (0.7, 2)),
    "zero": ([0.0, 0.0], (0.0, 1)),
    "never-monitored": ([None, None], (None, None)),
    "no-epoch": ([], (None, None)),
}


@pytest.mark.parametrize(("accuracies", "expected"), ACCURACIES.values(), ids=ACCURACIES)
def test_best_epoch__first_best(accuracies: list[float | None], expected: tuple[Any, Any]) -> None:
    rows = [
        {"epoch": epoch, "train/accuracy": 1.0, **({} if value is None else {"val/accuracy": value})}
        for epoch, value in enumerate(accuracies, start=1)
    ]

    assert best_epoch(rows, "val") == expected


def test_mean_of__rows_that_have_it() -> None:
    assert mean_of([{"s": 1}, {}, {"s": "4"}], "s") == 2.5
    assert mean_of([{}], "s") is None


def text_of(monitored: str, synthetic: bool = False, limited: bool = False, split: str = "random") -> str:
    counts = {"train": 8, "val": 0, "test": 2}
    text = protocol(split, counts, monitored, stratify=False, synthetic=synthetic, limited=limited)["text"]
    assert isinstance(text, str)
    return text


def test_protocol__test_part_watched() -> None:
    assert text_of("test") == (
        "random split of single images. accuracy is that of the last epoch on the test part. "
        "best_accuracy is the best epoch ON THE TEST PART, as the study reports it: it is optimistic."
    )


def test_protocol__validation_part_watched() -> None:
    assert text_of("val") == (
        "random split of single images. accuracy is that of the best validation epoch's weights on the test "
        "part, which was looked at once. best_accuracy is the best epoch on the validation part."
    )


@pytest.mark.parametrize("monitored", ["test", "val"])
def test_protocol__synthetic_comes_first(monitored: str) -> None:
    warning = "SYNTHETIC images: the figures say nothing about MRI. "

    assert text_of(monitored, synthetic=True) == warning + text_of(monitored)


def test_protocol__limited_batches() -> None:
    assert text_of("test", limited=True) == f"{text_of('test')} Only some batches were used (trainer.limit_*_batches)."


@pytest.mark.parametrize(("monitored", "of"), [("test", "last epoch"), ("val", "best validation epoch")])
def test_protocol__values(monitored: str, of: str) -> None:
    counts = {"train": 8, "val": 1, "test": 2}
    values = protocol("random", counts, monitored, stratify=True, synthetic=True, limited=False)

    del values["text"]
    assert values == {
        "split": "random",
        "stratify": True,
        "counts": counts,
        "monitored": monitored,
        "best_chosen_on": monitored,
        "accuracy_of": of,
        "synthetic": True,
        "limited": False,
    }


def test_environment__versions_and_command() -> None:
    found = environment()

    assert found["packages"].keys() == set(record.PACKAGES)
    assert found["packages"]["torch"] == version("torch")
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["command"] == sys.argv
    assert json.loads(json.dumps(found)) == found


def test_environment__package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "PACKAGES", ("no-such-package",))

    assert environment()["packages"] == {"no-such-package": None}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder `package` in a git checkout of one commit."""
    if not shutil.which("git"):
        pytest.skip("no git on this machine")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "file").write_text("a")
    name = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for line in (
        ["init", "-q"],
        ["add", "."],
        [*name, "commit", "-qm", "a"],
        [*name, "tag", "-am", "a", "v1"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *line], check=True)
    return tmp_path / "package"


def test_git_commit__of_a_checkout(checkout: Path) -> None:
    head = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()

    assert git_commit(checkout) == commit
    (checkout / "file").write_text("b")
    assert git_commit(checkout) == f"{commit}-dirty"


def test_git_commit__outside_a_checkout(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None


FAILURES = {
    "no-git": FileNotFoundError("git"),
    "refused": subprocess.CalledProcessError(128, "git"),
    "slow": subprocess.TimeoutExpired("git", 10),
}


@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES)
def test_git_commit__git_fails(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(subprocess, "run", fail)

    assert git_commit(tmp_path / "package") is None


def test_prediction_rows__in_the_order_of_paths() -> None:
    probabilities = np.array([[0.2, 0.8], [0.75, 0.25], [0.5, 0.5]])
    rows = record.prediction_rows(["b.png", "a.png", "c.png"], ["no", "yes"], probabilities, np.array([1, 1, 0]))
    assert [(row["path"], row["class"], row["predicted"], row["correct"]) for row in rows] == [
        ("a.png", "yes", "no", 0), ("b.png", "yes", "yes", 1), ("c.png", "no", "no", 1),
    ]  # fmt: skip
    assert rows[0]["probability/no"] == "0.750000"
