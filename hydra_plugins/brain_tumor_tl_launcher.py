"""Plugin: `hydra/launcher=local`. Hydra finds launchers only in this namespace.

Every Hydra program of an environment imports this module, so it only forwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class LocalLauncher(Launcher):
    """Runs each job of a multirun as a single run in a process of its own, on the devices of this machine.

    Args:
        limits: The `launcher` keys, which `launch` reads from the configuration.
    """

    def __init__(self, **limits: Any) -> None:
        pass

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes to a launcher; the task itself runs in other processes."""
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs and return how each of them ended."""
        from brain_tumor_tl.cli.launcher import launch

        return launch(self.context.config_loader, self.config, job_overrides)
