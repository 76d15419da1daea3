"""Plugin: `hydra/launcher=local`. Hydra instantiates launchers from this namespace alone.

Every Hydra program of an environment imports what lies here, so there is nothing but the door.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class LocalLauncher(Launcher):
    """Runs each job of a multirun as one single run in a process of its own, on devices of this machine.

    Args:
        jobs: Jobs at once; None for as many as the devices allow.
        devices_per_job: Devices of each job; None for what its `trainer.devices` says.
        jobs_per_device: Jobs that may share a device.
        fail_fast: End everything when the first job fails.
    """

    def __init__(self, jobs: int | None, devices_per_job: int | None, jobs_per_device: int, fail_fast: bool) -> None:
        self.jobs, self.devices_per_job = jobs, devices_per_job
        self.jobs_per_device, self.fail_fast = jobs_per_device, fail_fast

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives a launcher; the task itself runs in other processes."""
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs and return how each of them ended."""
        from brain_tumor_tl.cli.launcher import launch

        return launch(
            self.context.config_loader,
            self.config,
            job_overrides,
            at_once=self.jobs,
            devices_per_job=self.devices_per_job,
            jobs_per_device=self.jobs_per_device,
            fail_fast=self.fail_fast,
        )
