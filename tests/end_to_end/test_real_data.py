"""The study's real images: the frozen method's figures, from the command that the README gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKS = "[[1.000001,16,1,1],[6,24,2,2],[6,32,3,2],[6,64,4,2],[6,96,3,1],[6,160,3,2],[6,320,1,1]]"


@pytest.mark.slow
@pytest.mark.real_data
def test_train__frozen_mobilenet_reaches_the_studys_accuracy(
    real_data: Path, shared_weights: Path, tmp_path: Path
) -> None:
    line = [
        sys.executable, "-m", "brain_tumor_tl", "train", "model=mobilenet_v2", "method=frozen", "seed=0",
        f"model.weights={shared_weights / 'mobilenet_v2-imagenet-onnxzoo.pth'}",
        f"+model.options.inverted_residual_setting={BLOCKS}",
        f"data.root={real_data}", "data.normalize=imagenet", f"data.cache_dir={tmp_path / 'cache'}",
    ]  # fmt: skip
    subprocess.run(line, cwd=tmp_path, check=True, capture_output=True, timeout=1200)
    (folder,) = (tmp_path / "outputs" / "runs").glob("mobilenet_v2-frozen-s0-root_*")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["protocol"]["counts"] == {"train": 2611, "val": 0, "test": 653}
    assert results["epochs"] == 100
    assert 0.86 <= results["accuracy"] <= 0.91  # the study: 0.8897; single seeds spread by about a point
    assert results["best_accuracy"] >= results["accuracy"]
    assert results["features"]["cached"]
