"""Build: which jobs of a multirun share their process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from brain_tumor_tl.run.factory import devices, in_process_multirun, refuse_devices_in_process

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
SLURM = "hydra_plugins.brain_tumor_tl_slurm.SlurmLauncher"


@pytest.fixture(autouse=True)
def no_hydra() -> Iterator[None]:
    yield
    HydraConfig.instance().cfg = None


def configure(mode: RunMode, launcher: str) -> None:
    config = OmegaConf.structured(HydraConf(mode=mode, launcher={"_target_": launcher}))
    HydraConfig.instance().set_config(OmegaConf.create({"hydra": config}))


CASES = {
    "single-run": (RunMode.RUN, BASIC, False),
    "in-process": (RunMode.MULTIRUN, BASIC, True),
    "slurm": (RunMode.MULTIRUN, SLURM, False),
}


@pytest.mark.parametrize(("mode", "launcher", "shares"), CASES.values(), ids=CASES)
def test_in_process_multirun__by_launcher(mode: RunMode, launcher: str, shares: bool) -> None:
    configure(mode, launcher)

    assert in_process_multirun() == shares
    assert devices("auto") == (1 if shares else "auto")
    if shares:
        with pytest.raises(ValueError, match="Expected one device for a job of a multirun"):
            refuse_devices_in_process(2)
    else:
        refuse_devices_in_process(2)


def test_in_process_multirun__without_hydra() -> None:
    assert not in_process_multirun()
