"""Run folder: those of finished runs with their weights, without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from brain_tumor_tl.inference.run_folder import check_folders, weights_path

WITHOUT_TORCH = "import sys; import brain_tumor_tl.inference.run_folder; print('torch' in sys.modules)"


@pytest.mark.parametrize(("of", "name"), [("best validation epoch", "best.ckpt"), ("last epoch", "last.ckpt")])
def test_weights_path__those_that_the_accuracy_is_of(of: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / name
    with pytest.raises(ValueError, match=rf"Expected the weights of the run in .*{name}, there is no such file"):
        weights_path(tmp_path, {"protocol": {"accuracy_of": of}})
    path.parent.mkdir()
    path.touch()

    assert weights_path(tmp_path, {"protocol": {"accuracy_of": of}}) == path


def test_check_folders__finished_or_not(finished_runs: Mapping[str, Path], tmp_path: Path) -> None:
    check_folders(finished_runs.values())
    with pytest.raises(ValueError, match="absent is no folder"):
        check_folders([finished_runs["frozen"], tmp_path / "absent"])
    with pytest.raises(ValueError, match=r"has no results\.json\. Give the run's own folder"):
        check_folders([tmp_path])
    (tmp_path / "config.yaml").touch()
    with pytest.raises(ValueError, match=r"is unfinished, since it has no results\.json\. Resume it first"):
        check_folders([tmp_path])


def test_import__without_torch() -> None:
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == "False\n"
