"""Longer runs: the same run with more epochs goes on, and is then the same as one that had them from the start."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from brain_tumor_tl.run.folder import OtherRunError

Train = Callable[..., dict[str, Any]]
Trained = Callable[..., Path]


def figures(folder: Path) -> list[dict[str, str]]:
    """Return the rows of metrics.csv without what no two runs share: time, speed, memory."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    changing = ("seconds/", "images_per_second/", "memory")
    return [{key: value for key, value in row.items() if not key.startswith(changing)} for row in table]


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]
    return state


def assert_same(longer: Path, whole: Path) -> None:
    assert figures(longer) == figures(whole)
    assert (longer / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    first, second = weights(longer), weights(whole)
    assert first.keys() == second.keys()
    assert [key for key in first if not torch.equal(first[key], second[key])] == []


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Callable[..., Path]:
    """Copy a finished run: `copied(*overrides)`."""

    def copy(*overrides: str) -> Path:
        return Path(shutil.copytree(trained(*overrides), tmp_path / "run"))

    return copy


LINES = {
    "frozen": (True, ("method=frozen",)),
    "interrupted": (False, ("method=frozen",)),
    "validated": (True, ("method=frozen", "data.val_fraction=0.2", "trainer.check_val_every_n_epoch=2")),
    "finetune": (True, ("method=finetune",)),
    "stepped": (True, ("method=frozen", "scheduler.name=StepLR", "+scheduler.options.step_size=2")),
}  # fmt: skip


@pytest.mark.parametrize(("finished", "line"), LINES.values(), ids=LINES)
def test_train__more_epochs_end_as_a_longer_run_T20(
    finished: bool,
    line: tuple[str, ...],
    run_train: Train,
    trained: Trained,
    copied: Callable[..., Path],
) -> None:
    folder, whole = copied(*line), trained(*line, "trainer.max_epochs=5")
    if not finished:
        (folder / "results.json").unlink()

    results = run_train(folder, *line, "trainer.max_epochs=5")

    assert_same(folder, whole)
    told = json.loads((whole / "results.json").read_text())
    same = ("accuracy", "best_accuracy", "best_epoch", "epochs", "loss", "confusion_matrix")
    assert {key: results[key] for key in same} == {key: told[key] for key in same}
    assert results["config"]["trainer"]["max_epochs"] == 5
    assert run_train(folder, *line, "trainer.max_epochs=5")["epochs"] == 5, "it is done"


@pytest.mark.parametrize("steps", [10, -1], ids=["longer", "no-limit"])
def test_train__more_steps_end_as_a_longer_run_T20(
    steps: int, run_train: Train, trained: Trained, copied: Callable[..., Path]
) -> None:
    folder = copied("method=frozen", "trainer.max_steps=5")
    assert len(figures(folder)) == 1, "38 training images in batches of 8 are 5 steps an epoch"

    run_train(folder, "method=frozen", f"trainer.max_steps={steps}")

    assert_same(folder, trained("method=frozen", f"trainer.max_steps={steps}"))


def test_train__no_longer_after_part_of_an_epoch(run_train: Train, copied: Callable[..., Path]) -> None:
    folder = copied("method=frozen", "trainer.max_steps=7")
    before = (folder / "results.json").read_bytes()

    with pytest.raises(ValueError, match=r"ended within an epoch.*name=NAME.*force=true"):
        run_train(folder, "method=frozen", "trainer.max_steps=10")

    assert (folder / "results.json").read_bytes() == before
    assert run_train(folder, "method=frozen", "trainer.max_steps=7")["epochs"] == 2, "the shorter one is still there"


def test_train__no_longer_with_a_planned_rate(run_train: Train, copied: Callable[..., Path]) -> None:
    line = ("method=frozen", "recipe=onecycle", "trainer.max_epochs=2")
    folder = copied(*line)

    with pytest.raises(OtherRunError, match=r"trainer\.max_epochs: 2 -> 3"):
        run_train(folder, *line, "trainer.max_epochs=3")
