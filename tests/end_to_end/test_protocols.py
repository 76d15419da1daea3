"""Protocols in whole runs: the description of the split, folds that join, and the control with permuted labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from brain_tumor_tl.data.sources.phantom import write_phantoms
from brain_tumor_tl.evaluation.crossval import join_folds
from brain_tumor_tl.files import read_csv

Train = Callable[..., dict[str, Any]]
FROZEN = ("method=frozen", "trainer.max_epochs=1")


def test_train__folds_join(run_train: Train, tmp_path: Path) -> None:
    folds = ("data.split=kfold", "data.folds=2", "data.fold_by=random", "data.val_fraction=0.1")
    runs = [(run_train(tmp_path / str(fold), *FROZEN, *folds, f"data.fold={fold}"), fold) for fold in (0, 1)]

    joined = join_folds([(run, read_csv(tmp_path / str(fold) / "predictions.csv")) for run, fold in runs])

    assert len(joined.rows) == 48
    assert joined.accuracy == pytest.approx(sum(run["accuracy"] for run, _ in runs) / 2)
    assert all(run["name"].startswith(f"shufflenet_v2_x0_5-frozen-s0-random-f{fold}-") for run, fold in runs)
    assert {row["fold"] for row in read_csv(tmp_path / "1" / "split.csv")} == {"1"}


def test_train__grouped_split_is_described(run_train: Train, tmp_path: Path) -> None:
    results = run_train(tmp_path, *FROZEN, "data.split=grouped", "data.find_copies=auto")

    protocol = results["protocol"]
    assert (protocol["split"], protocol["copies_in_training"], protocol["groups_in_several_splits"]) == (
        "grouped",
        0,
        0,
    )
    assert 0 <= protocol["nearest_neighbour"] <= 1
    assert "A nearest-neighbour (1-NN) baseline" in protocol["text"]
    rows = read_csv(tmp_path / "split.csv")
    assert len({row["group"] for row in rows}) > 40
    assert {row["split"] for row in rows} == {"train", "test"}


@pytest.mark.slow
def test_train__permuted_labels_land_at_chance(run_train: Train, tmp_path: Path) -> None:
    root = tmp_path / "phantoms"
    write_phantoms(root, per_class=50, size=32, seed=1)
    job = ("method=frozen", "model.name=resnet18", "optimizer.lr=0.01", "trainer.max_epochs=10", f"data.root={root}")
    more = ("data.test_fraction=0.5", "data.stratify=true", "confusion_every=0")

    truth = run_train(tmp_path / "truth", *job, *more)
    controls = [run_train(tmp_path / f"{s}", *job, *more, f"seed={s}", "data.shuffle_labels=true") for s in range(4)]

    # One permutation may fit the four classes by luck; the mean of several does not.
    mean = sum(run["accuracy"] for run in controls) / len(controls)
    assert 0.10 <= mean <= 0.40
    assert truth["accuracy"] > 0.5
    assert "CONTROL: trained on permuted labels" in controls[0]["protocol"]["text"]
    assert controls[0]["name"].startswith("resnet18-frozen-s0-shuffled-")
