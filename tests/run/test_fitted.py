"""Fitted: runs whose head scikit-learn fits, from training to prediction."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from brain_tumor_tl.files import read_csv, read_json
from brain_tumor_tl.inference.explain import explain_all
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.model.classifier import TumorClassifier
from brain_tumor_tl.model.heads import HEADS, Backbones, is_fitted
from brain_tumor_tl.run.fitted import describe_fit, trainer_settings
from brain_tumor_tl.run.folder import differences, inspect_folder, settings_with_effect
from brain_tumor_tl.run.training_run import TrainingRun

Settings = dict[str, Any]
GRIDS: dict[str, dict[str, Any]] = {
    "logistic": {"C": [0.01, 0.1]}, "lda": {"shrinkage": 0.5}, "svm": {"C": 10, "gamma": [0.5, 1.0]},
    "knn": {"neighbors": [1, 3]},
}  # fmt: skip


@pytest.fixture(scope="module")
def settings(finished_runs: dict[str, Path]) -> Callable[..., Settings]:
    """The settings of a finished frozen run, whose features are cached, with another head and without evidence."""
    loaded: Settings = yaml.safe_load((finished_runs["frozen"] / "config.yaml").read_text())
    loaded["evidence"] = {key: type(value)(0) for key, value in loaded["evidence"].items()}

    def make(name: str, **others: Any) -> Settings:
        changed = copy.deepcopy(loaded)
        changed["head"] = {
            **changed["head"],
            "name": name,
            "grid": GRIDS.get(name, {}),
            "folds": 2,
            "hidden": 8,
            **others,
        }
        return changed

    return make


FURTHER: dict[str, Any] = {"name": "squeezenet1_1", "weights": None, "options": {}}


@pytest.fixture(scope="module")
def runs(settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of a run with each head, and of one with two backbones."""
    folder = tmp_path_factory.mktemp("heads")
    cases = {name: settings(name) for name in HEADS if name != "linear"}
    cases["two"] = settings("logistic", backbones=[FURTHER])
    cases["knn"]["evidence"] |= {"highest_loss": 1, "gradcam": True}  # which has no gradient
    for name, case in cases.items():
        (folder / name).mkdir()
        TrainingRun(case, folder / name).train()
    return {name: folder / name for name in cases}


@pytest.mark.parametrize("name", [*(name for name in HEADS if name != "linear"), "two"])
def test_train__with_every_head_to_prediction(runs: dict[str, Path], name: str) -> None:
    folder = runs[name]
    run, rows = TrainedRun(folder), read_csv(folder / "predictions.csv")
    root = Path(run.results["config"]["data"]["cache_dir"])
    paths = [next(root.glob(f"*/{row['path']}")) for row in rows]
    found = run.predict(paths)
    temperature = run.temperature or 1.0
    written = np.array([[float(row[f"probability/{label}"]) for label in run.classes] for row in rows])
    expected = torch.from_numpy(written).log().div(temperature).softmax(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert read_json(folder / "results.json")["accuracy"] == np.mean([row["correct"] == "1" for row in rows])


def test_train__results_have_what_was_chosen(runs: dict[str, Path]) -> None:
    results = read_json(runs["svm"] / "results.json")
    assert results["head"]["name"] == "svm"
    assert [entry["gamma"] for entry in results["head"]["tried"]] == [0.5, 1.0]
    assert results["head"]["chosen"]["C"] == 10
    assert (results["epochs"], len(read_csv(runs["svm"] / "metrics.csv"))) == (1, 1)
    assert "head" not in read_json(runs["mlp"] / "results.json")


def test_train__frozen_backbone_does_not_change(runs: dict[str, Path], finished_runs: dict[str, Path]) -> None:
    states = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (runs["svm"], finished_runs["frozen"])
    ]
    keys = [key for key in states[1] if key.startswith("backbone.")]
    assert keys
    assert all(torch.equal(states[0][key], states[1][key]) for key in keys)


@pytest.mark.parametrize("name", ["svm", "knn", "mlp", "two"])
def test_load_from_checkpoint__with_every_kind_of_head(runs: dict[str, Path], name: str) -> None:
    model = TumorClassifier.load_from_checkpoint(runs[name] / "checkpoints" / "best.ckpt", map_location="cpu").eval()
    run, images = TrainedRun(runs[name]), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), run.head(run.backbone(images)), atol=1e-3, rtol=1e-4)


def test_train__cross_validation_divides_no_group_of_the_split(
    settings: Callable[..., Settings], tmp_path: Path
) -> None:
    """With copies kept together by the split, those of the training images stay together in every fold."""
    case = settings("svm")
    case["data"] |= {"split": "grouped", "find_copies": True}
    run = TrainingRun(case, tmp_path)
    assert run.fitter is not None
    expected = run.data.relations.groups("grouped")[run.data.split.train]
    assert (run.fitter.groups == expected).all()
    single = TrainingRun(settings("svm"), tmp_path).fitter
    assert single is not None
    assert len(set(single.groups)) == len(single.groups)


def test_train__two_backbones_have_the_features_of_both(runs: dict[str, Path]) -> None:
    run, single = TrainedRun(runs["two"]), TrainedRun(runs["svm"])
    images = torch.rand(2, 3, 64, 64)
    assert isinstance(run.backbone, Backbones)
    with torch.no_grad():
        found = run.backbone(images)
        torch.testing.assert_close(found[:, :1024], single.backbone(images))
    assert found.shape == (2, 1024 + 512)


@pytest.mark.parametrize(("name", "words"), [("knn", "no gradient|has none"), ("two", "features of 2")])
def test_explain__is_refused_where_it_can_not_be(runs: dict[str, Path], name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        explain_all(TrainedRun(runs[name]), [np.zeros((64, 64), np.uint8)])


@pytest.mark.parametrize("name", ["svm", "lda"])
def test_explain__fitted_head(runs: dict[str, Path], name: str) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    (found,) = explain_all(TrainedRun(runs[name]), [image])
    assert (found.maps != 0).any()


def test_inspect_folder__fitted_run(runs: dict[str, Path], settings: Callable[..., Settings]) -> None:
    """It is done whatever the optimizer, and other with another grid."""
    case = settings("svm")
    assert inspect_folder(runs["svm"], case, force=False) == "done"
    case["optimizer"]["lr"], case["trainer"]["max_epochs"] = 0.5, 7
    assert inspect_folder(runs["svm"], case, force=False) == "done"
    case["head"]["grid"] = {"C": 1, "gamma": 1}
    with pytest.raises(FileExistsError, match=r"head.grid.C: 10 -> 1"):
        inspect_folder(runs["svm"], case, force=False)


def test_inspect_folder__cut_fit_starts_anew(
    runs: dict[str, Path], settings: Callable[..., Settings], tmp_path: Path
) -> None:
    shutil.copytree(runs["svm"], tmp_path / "cut")
    (tmp_path / "cut" / "results.json").unlink()
    assert inspect_folder(tmp_path / "cut", settings("svm"), force=False) == "new"
    assert not (tmp_path / "cut" / "checkpoints").exists()


def test_settings_with_effect__linear_head_is_that_of_earlier_runs(settings: Callable[..., Settings]) -> None:
    case = settings("linear", hidden=99)
    before = {key: value for key, value in case.items() if key != "head"}
    assert settings_with_effect(case) == settings_with_effect(before)
    assert not differences(before, case)
    assert differences(before, settings("mlp"))


def test_trainer_settings__one_pass(settings: Callable[..., Settings]) -> None:
    case = settings("svm")
    case["trainer"] |= {"max_epochs": 50, "check_val_every_n_epoch": 5, "gradient_clip_val": 1.0}
    found = trainer_settings(case)
    assert (found["max_epochs"], found["check_val_every_n_epoch"], found["gradient_clip_val"]) == (1, 1, None)
    case["head"]["grid"], case["head"]["name"] = {}, "linear"
    assert trainer_settings(case) is case["trainer"]


def test_describe_fit() -> None:
    head = {"name": "svm", "grid": {"C": [1, 2], "gamma": [1, 2]}, "folds": 5}
    assert describe_fit(head).startswith("svm, the best of 4 by cross-validation in 5 folds")
    assert is_fitted(head)
