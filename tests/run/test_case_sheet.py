"""Case sheet: Grad-CAM of a run's network, which is as it was afterwards."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from brain_tumor_tl.inference.explain import explain
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.run.case_sheet import SIDE, beside, case_sheet, predicted_maps, without_gradients
from brain_tumor_tl.run.training_run import TrainingRun


@pytest.fixture
def run(finished_runs: dict[str, Path], tmp_path: Path) -> TrainingRun:
    """A finetuned run, its tested weights loaded."""
    settings: dict[str, Any] = yaml.safe_load((finished_runs["finetune"] / "config.yaml").read_text())
    built = TrainingRun(copy.deepcopy(settings), tmp_path)
    content = torch.load(finished_runs["finetune"] / "checkpoints" / "best.ckpt", weights_only=True)
    built.model.load_state_dict(content["state_dict"])
    return built


def test_predicted_maps__as_explain_draws_them(run: TrainingRun, finished_runs: dict[str, Path]) -> None:
    positions = run.data.split.test[:5]
    pixels = run.data.pixels[positions]
    explained = explain(TrainedRun(finished_runs["finetune"]), pixels)
    predicted = np.array([run.model.classes.index(each.predicted) for each in explained])

    maps = predicted_maps(run, pixels, predicted)

    assert maps is not None
    for found, expected in zip(maps, explained, strict=True):
        assert np.allclose(found, expected.maps[0], atol=1e-4)
    assert all(parameter.requires_grad for parameter in run.model.backbone.parameters())


def test_predicted_maps__none_of_a_network_without_feature_map(run: TrainingRun) -> None:
    run.model.backbone = nn.Flatten()

    assert predicted_maps(run, run.data.pixels[:2], np.zeros(2, np.int64)) is None


def test_case_sheet__without_maps_is_narrower(run: TrainingRun) -> None:
    positions, labels = run.data.split.test[:2], np.zeros(2, np.int64)
    probabilities = np.array([[0.5, 0.5, 0, 0], [0.1, 0.9, 0, 0]])

    sheet = case_sheet(run, positions, labels, probabilities)
    run.settings = {"evidence": {"gradcam": False}}
    plain = case_sheet(run, positions, labels, probabilities)

    assert sheet.shape[0] == plain.shape[0] > SIDE
    assert sheet.shape[1] - plain.shape[1] == 2 * SIDE
    assert np.array_equal(sheet[:SIDE, :SIDE], plain[:SIDE, :SIDE])


def test_beside__the_map_is_on_the_right() -> None:
    image = Image.new("RGB", (8, 8), (90, 90, 90))

    pixels = np.asarray(beside(image, np.eye(8, dtype=np.float32)))

    assert (pixels[:, :8] == 90).all()
    assert (pixels[0, 8] != 90).any()


def test_without_gradients__after_an_error_too() -> None:
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    network[0].requires_grad_(False)

    def fail() -> None:
        with without_gradients(network):
            assert not any(parameter.requires_grad for parameter in network.parameters())
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        fail()
    assert [parameter.requires_grad for parameter in network.parameters()] == [False, False, True, True]
