from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from brain_tumor_tl.evaluation.novelty import Reference, directions_of, fitted
from brain_tumor_tl.files import read_csv
from brain_tumor_tl.inference.reference import load_reference
from brain_tumor_tl.inference.trained_run import TrainedRun
from brain_tumor_tl.model.backbone import state_digest
from brain_tumor_tl.reporting.discover import REFERENCE
from brain_tumor_tl.run import reference, training_run
from brain_tumor_tl.run.folder import RUN_FILES
from brain_tumor_tl.run.training_run import TrainingRun


def kept_by(folder: Path) -> Reference:
    """Return the reference of a run, which must be there."""
    found = load_reference(folder)
    assert found is not None
    return found


@pytest.mark.parametrize("method", ["frozen", "finetune"])
def test_write_reference__keeps_the_training_images_of_the_tested_weights(
    finished_runs: dict[str, Path], method: str
) -> None:
    run = TrainedRun(finished_runs[method], device="cpu", precision="32-true")  # as it was trained
    rows = [row for row in read_csv(run.folder / "split.csv") if row["split"] == "train"]
    root = Path(run.results["config"]["data"]["root"])
    features, _ = run.compute(torch.from_numpy(np.stack([run.decode(root / row["path"]) for row in rows])))

    kept = kept_by(run.folder)

    expected = fitted(directions_of(features.numpy()), features.shape[1])
    assert kept.width == expected.width
    np.testing.assert_allclose(kept.distances(features.numpy()), expected.distances(features.numpy()), rtol=0.05)
    assert (kept.distances(features.numpy()) > kept.threshold).mean() < 0.2


def test_write_reference__with_or_without_cached_features(finished_runs: dict[str, Path], tmp_path: Path) -> None:
    """The backbone of a frozen run is the same with augmentation, which leaves nothing to cache."""
    settings = copy.deepcopy(yaml.safe_load((finished_runs["frozen"] / "config.yaml").read_text()))
    settings["method"]["cache_features"] = False
    settings["trainer"]["max_epochs"] = 1

    TrainingRun(settings, tmp_path).train()

    cached, computed = kept_by(finished_runs["frozen"]), kept_by(tmp_path)
    assert computed.centre.shape == cached.centre.shape
    assert computed.threshold == pytest.approx(cached.threshold, rel=0.05)


def test_write_reference__comes_after_the_results_and_changes_none(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = yaml.safe_load((finished_runs["finetune"] / "config.yaml").read_text())
    settings["trainer"]["max_epochs"] = 1
    run = TrainingRun(settings, tmp_path)

    def results() -> list[object]:
        logits, _, _ = run.outputs("test")
        written = [tmp_path / "metrics.csv", *sorted((tmp_path / "checkpoints").iterdir())]
        return [logits.tobytes(), state_digest(run.model), *map(Path.read_bytes, written)]

    def checked(*arguments: Any) -> None:
        before = results()
        reference.write_reference(*arguments)
        assert results() == before
        assert len(before) == 5
        assert not (tmp_path / "results.json").exists()

    monkeypatch.setattr(training_run, "write_reference", checked)

    assert run.train()["epochs"] == 1
    assert (tmp_path / "results.json").exists()


def test_write_reference__removes_an_older_one_where_there_is_none(
    finished_runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = yaml.safe_load((finished_runs["frozen"] / "config.yaml").read_text())
    run = TrainingRun(settings, tmp_path)
    (tmp_path / REFERENCE).write_bytes(b"of a run before")
    monkeypatch.setattr(reference, "make_reference", lambda *_: None)

    features = torch.zeros(len(run.data.index), run.width)
    reference.write_reference(run, run.data.batches(features, run.trainer))

    assert not (tmp_path / REFERENCE).exists()
    assert REFERENCE in RUN_FILES
