"""A small, fast training job for the tests of whole runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest

from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.cli.run_names import origin_of
from brain_tumor_tl.cli.train import train
from brain_tumor_tl.data.sources.phantom import write_phantoms

Train = Callable[..., dict[str, Any]]
Trained = Callable[..., Path]
SMALL = (
    "data=phantom",
    "data.image_size=32",
    "data.phantom_size=32",
    "data.phantoms_per_class=12",
    "model.name=shufflenet_v2_x0_5",
    "model.weights=null",
    "trainer=cpu",
    "trainer.precision=32-true",
    "trainer.max_epochs=3",
    "data.batch_size=8",
    "confusion_every=1",
)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 synthetic heads of 32 x 32 pixels."""
    root = tmp_path_factory.mktemp("phantoms") / "synthetic"
    write_phantoms(root, per_class=12, size=32, seed=0)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the runs of a test session share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def small_job(phantoms: Path, cache: Path) -> list[str]:
    """The overrides of a job that takes seconds."""
    return [*SMALL, f"data.root={phantoms}", f"data.cache_dir={cache}"]


@pytest.fixture(scope="session")
def run_train(small_job: list[str]) -> Train:
    """Train in this process: `run_train(folder, *overrides)` returns the results."""

    def run(folder: Path, *overrides: str) -> dict[str, Any]:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = hydra.compose("train", [*small_job, *overrides])
        folder.mkdir(parents=True, exist_ok=True)
        return train(checked_settings(config), folder, origin_of(config))

    return run


@pytest.fixture(scope="session")
def trained(run_train: Train, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The folder of a run that a test only reads: `trained(*overrides)` trains once a session."""
    folders: dict[tuple[str, ...], Path] = {}

    def folder(*overrides: str) -> Path:
        if overrides not in folders:
            folders[overrides] = tmp_path_factory.mktemp("trained")
            run_train(folders[overrides], *overrides)
        return folders[overrides]

    return folder
