"""Ensemble: the mean of the runs' probabilities, for the same classes only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import brain_tumor_tl
from brain_tumor_tl.inference.ensemble import Ensemble
from brain_tumor_tl.inference.trained_run import TrainedRun
from tests.inference.test_trained_run import edited_copy, images_of_test


def test_load__several_runs_predict_the_mean(finished_runs: Mapping[str, Path]) -> None:
    folders = list(finished_runs.values())
    paths, _ = images_of_test(folders[0])

    ensemble = brain_tumor_tl.load(*folders)

    assert isinstance(ensemble, Ensemble)
    each = [TrainedRun(folder).predict(paths) for folder in folders]
    assert not np.allclose(each[0], each[1], atol=1e-3)
    assert np.allclose(ensemble.predict(paths), np.mean(each, axis=0), atol=1e-6)


def test_load__runs_of_other_sizes_decode_for_themselves(finished_runs: Mapping[str, Path], tmp_path: Path) -> None:
    folder = edited_copy(finished_runs["finetune"], tmp_path / "smaller", lambda results: None)
    path = folder / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["preprocessing"]["image_size"] = 48
    torch.save(checkpoint, path)
    folders = [finished_runs["finetune"], folder]
    paths, _ = images_of_test(folders[0])

    each = [TrainedRun(folder).predict(paths[:2]) for folder in folders]

    assert not np.allclose(each[0], each[1], atol=2e-5)
    assert np.allclose(brain_tumor_tl.load(*folders).predict(paths[:2]), np.mean(each, axis=0), atol=1e-6)


def test_load__refuses_other_classes_and_nothing(finished_runs: Mapping[str, Path], tmp_path: Path) -> None:
    folder = edited_copy(finished_runs["frozen"], tmp_path / "other", lambda results: results["classes"].reverse())
    path = folder / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["hyper_parameters"]["classes"].reverse()
    torch.save(checkpoint, path)

    with pytest.raises(ValueError, match=r"Expected runs for the same classes in the same order: .*glioma_tumor, men"):
        brain_tumor_tl.load(finished_runs["frozen"], folder)
    with pytest.raises(ValueError, match="Expected the folder of a finished run, got none"):
        brain_tumor_tl.load()  # type: ignore[call-overload]  # the point of the test
