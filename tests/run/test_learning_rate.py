"""Learning rate: a range test writes its files and no run; and the debugging configurations do what they say."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from brain_tumor_tl.cli.train import train
from brain_tumor_tl.files import read_csv
from brain_tumor_tl.run.learning_rate import FILES, forever
from brain_tumor_tl.run.training_run import TrainingRun

Settings = dict[str, Any]


@pytest.fixture
def settings(finished_runs: dict[str, Path]) -> Settings:
    """The settings of a finished frozen run, whose images and features are cached; a test may change them."""
    return copy.deepcopy(yaml.safe_load((finished_runs["frozen"] / "config.yaml").read_text()))


@pytest.mark.parametrize("frozen", [True, False], ids=["features", "images"])
def test_train__a_range_test_in_place_of_a_run(
    frozen: bool, settings: Settings, tmp_path: Path, messages: list[str]
) -> None:
    settings["trainer"]["find_lr"] = True
    settings["method"]["freeze"], settings["data"]["image_size"] = frozen, 64 if frozen else 32
    settings["optimizer"]["backbone_lr_factor"] = 0.1

    found = train(settings, tmp_path, {})

    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES), "nothing that looks like a run"
    rows = read_csv(tmp_path / "lr_range.csv")
    assert len(rows) > 30
    rates = [float(row["learning_rate"]) for row in rows]
    assert rates == sorted(rates)
    assert found["suggestion"] in [*rates, None]
    assert any("Suggestion  optimizer.lr=" in text or "No suggestion" in text for text in messages)


def test_forever__each_epoch_has_its_own_order(settings: Settings, tmp_path: Path) -> None:
    settings["trainer"]["find_lr"] = True
    run = TrainingRun(settings, tmp_path)
    batches = run.sources(None)[1]
    endless = forever(batches)
    first, second = ([next(endless)[2].tolist() for _ in range(len(batches))] for _ in range(2))
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second))
    assert first != second


@pytest.mark.slow
def test_train__two_batches_are_learnt_by_heart(settings: Settings, tmp_path: Path, messages: list[str]) -> None:
    settings["method"]["freeze"], settings["data"]["image_size"] = False, 32
    settings["trainer"] |= {"overfit_batches": 2, "max_epochs": 30, "check_val_every_n_epoch": 30}
    results = TrainingRun(settings, tmp_path).train()
    assert results["protocol"]["counts"]["train"] == 16
    assert results["protocol"]["limited"]
    assert any(text.startswith("Overfit   yes: 100% of the 16 images") for text in messages)
