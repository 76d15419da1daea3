"""Record: what a run's files say of its numbers and of how they came about."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.reporting.protocol_text import describe_protocol
from brain_tumor_tl.run import record
from brain_tumor_tl.run.record import (
    best_epoch,
    best_value,
    environment,
    git_commit,
    mean_of,
    protocol,
)

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


DESCRIBED = {"split": "random", "title": "random split of single images", "test_images": 2}


def text_of(monitored: str, synthetic: bool = False, limited: bool = False, **options: Any) -> str:
    counts = {"train": 8, "val": 0, "test": 2}
    found = protocol(DESCRIBED, counts, monitored, False, synthetic=synthetic, limited=limited, **options)
    assert isinstance(found["text"], str)
    return found["text"].removeprefix(describe_protocol(DESCRIBED) + " ")


def test_protocol__test_split_monitored() -> None:
    assert text_of("test") == (
        "accuracy is that of the last epoch on the test split. "
        "best_accuracy is the best epoch ON THE TEST SPLIT, as the study reports it: it is optimistic."
    )


def test_protocol__validation_split_monitored() -> None:
    assert text_of("val") == (
        "accuracy is that of the best validation epoch's weights on the test split, which was evaluated once. "
        "best_accuracy is the best epoch on the validation split."
    )


def test_protocol__monitored_split_never_evaluated() -> None:
    assert text_of("val", evaluated=False) == (
        "accuracy is that of the last weights on the test split. "
        "There is no best_accuracy: the run ended before it evaluated the monitored split."
    )


def test_protocol__describes_the_split() -> None:
    found = protocol(DESCRIBED, {}, "test", stratify=False, synthetic=False, limited=False)
    assert found["text"].startswith(describe_protocol(DESCRIBED))


@pytest.mark.parametrize("monitored", ["test", "val"])
def test_protocol__synthetic_comes_first(monitored: str) -> None:
    found = protocol(DESCRIBED, {}, monitored, stratify=False, synthetic=True, limited=False)
    assert found["text"].startswith("SYNTHETIC images: the results say nothing about MRI. Random split")


def test_protocol__limited_batches() -> None:
    assert text_of("test", limited=True) == (
        f"{text_of('test')} Only some batches were used (trainer.limit_*_batches or overfit_batches)."
    )


@pytest.mark.parametrize(("monitored", "of"), [("test", "last epoch"), ("val", "best validation epoch")])
def test_protocol__values(monitored: str, of: str) -> None:
    counts = {"train": 8, "val": 1, "test": 2}
    values = protocol(DESCRIBED, counts, monitored, stratify=True, synthetic=True, limited=False)

    del values["text"]
    assert values == {
        **DESCRIBED,
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
    """A git checkout of one commit."""
    if not shutil.which("git"):
        pytest.skip("no git on this machine")
    (tmp_path / "file").write_text("a")
    name = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for line in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "a"], [*name, "tag", "-am", "a", "v1"]):
        subprocess.run(["git", "-C", str(tmp_path), *line], check=True)
    return tmp_path


def test_git_commit__of_a_checkout(checkout: Path) -> None:
    head = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()

    assert git_commit(checkout) == commit
    (checkout / "file").write_text("b")
    assert git_commit(checkout) == f"{commit}-dirty"


def test_environment__commit_of_the_package_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "git_commit", str)

    assert (Path(environment()["git_commit"]) / "brain_tumor_tl" / "run" / "record.py").is_file()


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

    assert git_commit(tmp_path) is None


@pytest.mark.parametrize(
    ("metric", "best"), [("val/accuracy", 0.9), ("val/loss", 0.2), ("val/macro_f1", None)], ids=lambda value: str(value)
)
def test_best_value__of_the_epochs_that_have_one(metric: str, best: float | None) -> None:
    rows = [{"val/accuracy": 0.9, "val/loss": 0.5}, {}, {"val/accuracy": 0.3, "val/loss": 0.2}, {"val/loss": math.nan}]

    assert best_value(rows, metric) == best
