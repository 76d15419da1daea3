"""Kept: training on the output of the frozen part teaches what training on images does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.inference.evaluate import evaluate
from brain_tumor_tl.inference.other_set import Source
from brain_tumor_tl.inference.own_test import open_as_trained
from brain_tumor_tl.model.freezing import Freezing
from brain_tumor_tl.run.kept import keep
from brain_tumor_tl.run.training_run import TrainingRun

Settings = dict[str, Any]
METHODS: dict[str, Settings] = {
    "partial": {"name": "partial", "train_from": "stage3"},
    "gradual": {"name": "gradual", "stages": [["head", 1], ["stage4", None]]},
    "views": {"train_from": "stage4", "views": 2},
}
EPOCHS = 3


@pytest.fixture
def partial(finished_runs: dict[str, Path]) -> Settings:
    """The settings of a small run that is frozen before a stage."""
    settings: Settings = yaml.safe_load((finished_runs["frozen"] / "config.yaml").read_text())
    settings["method"] |= {"freeze": True, "cache_features": "auto", **METHODS["partial"]}
    settings["trainer"] |= {"max_epochs": EPOCHS, "precision": "32-true"}
    return settings


def run_in(folder: Path, settings: Settings, resume: bool = False) -> TrainingRun:
    folder.mkdir(exist_ok=True)
    return TrainingRun(settings, folder, resume)


def weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.mark.parametrize("method", ["partial", "gradual"])
def test_keep__teaches_what_images_teach(method: str, partial: Settings, tmp_path: Path) -> None:
    partial["method"] |= {"train_from": None} | METHODS[method]
    plain = copy.deepcopy(partial)
    plain["method"]["cache_features"] = False

    kept = run_in(tmp_path / "kept", partial).train()
    computed = run_in(tmp_path / "plain", plain).train()

    assert kept["features"]["before"] == METHODS[method].get("train_from", "stage4")
    assert computed["features"] == {"cached": False}
    left, right = weights(tmp_path / "kept"), weights(tmp_path / "plain")
    assert left.keys() == right.keys()
    for key in left:
        torch.testing.assert_close(left[key], right[key], rtol=1e-4, atol=1e-5)
    assert kept["confusion_matrix"] == computed["confusion_matrix"]


def test_keep__the_frozen_part_stays_to_the_byte_and_the_rest_learns(partial: Settings, tmp_path: Path) -> None:
    run = run_in(tmp_path, partial)
    before = {key: value.clone() for key, value in run.model.backbone.state_dict().items()}
    run.train()
    after = {key.removeprefix("backbone."): value for key, value in weights(tmp_path).items()}
    assert {key for key in before if torch.equal(before[key], after[key])} == set(run.freezing.keys)
    assert {key.split(".")[0] for key in run.freezing.keys} == {"conv1", "stage2"}


def test_keep__views_are_shared_by_splits_and_taken_in_turn(partial: Settings, tmp_path: Path) -> None:
    partial["method"] |= METHODS["views"]
    partial["data"]["augment"] |= {"flip": 0.5, "degrees": 10.0}
    first = run_in(tmp_path / "first", partial)
    kept = keep(first)
    assert [tuple(view.shape) for view in kept.views] == [tuple(kept.views[0].shape)] * 2
    assert not torch.equal(kept.views[0], kept.views[1])
    assert kept.about["computed_now"]
    _, training, _, test = first.sources(kept)
    by_epoch = []
    for epoch in range(3):
        first.trainer.fit_loop.epoch_progress.current.completed = epoch
        by_epoch.append(
            {int(p): x for inputs, _, positions in training for x, p in zip(inputs, positions, strict=True)}
        )
        assert len(by_epoch[-1]) == first.counts["train"]
    one = next(iter(by_epoch[0]))
    assert torch.equal(by_epoch[0][one], by_epoch[2][one])
    assert not torch.equal(by_epoch[0][one], by_epoch[1][one])
    position = int(first.data.split.test[0])
    assert torch.equal(next(iter(test))[0][0], kept.views[0][position])  # never augmented

    other = copy.deepcopy(partial)
    other["data"]["test_fraction"], other["optimizer"]["lr"] = 0.4, 0.01
    assert not keep(run_in(tmp_path / "second", other)).about["computed_now"]


def test_keep__an_evaluation_repeats_the_test_to_the_digit(partial: Settings, tmp_path: Path) -> None:
    run_in(tmp_path / "run", partial).train()
    found = evaluate([open_as_trained(tmp_path / "run")], Source(), Path(partial["data"]["cache_dir"]))
    assert found.results["accuracy"] == read_json(tmp_path / "run" / "results.json")["accuracy"]
    assert found.results["loss"] == read_json(tmp_path / "run" / "results.json")["loss"]


def test_train__a_cut_partial_run_resumes_to_the_bit(
    partial: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial["method"] |= {"train_from": None} | METHODS["gradual"]
    run_in(tmp_path / "whole", partial).train()
    begin = Freezing.begin

    def cut(self: Freezing, epoch: int) -> None:
        if epoch == 2:
            raise RuntimeError("the power went")
        begin(self, epoch)

    monkeypatch.setattr(Freezing, "begin", cut)
    with pytest.raises(RuntimeError, match="the power went"):
        run_in(tmp_path / "cut", partial).train()
    incomplete = torch.load(tmp_path / "cut" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert not [key for key in incomplete if key.startswith(("backbone.conv1", "backbone.stage2"))]
    monkeypatch.setattr(Freezing, "begin", begin)

    run_in(tmp_path / "cut", partial, resume=True).train()

    left, right = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert left.keys() == right.keys()
    assert all(torch.equal(left[key], right[key]) for key in left)
    assert read_csv(tmp_path / "cut" / "predictions.csv") == read_csv(tmp_path / "whole" / "predictions.csv")
