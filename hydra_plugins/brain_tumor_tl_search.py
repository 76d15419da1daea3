"""Plugin: `hydra/sweeper=search`, the door to `brain-tumor-tl search`; Hydra takes sweepers from this namespace alone.

Every Hydra program of an environment imports what lies here, so there is nothing but the door.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SearchSweeper(Sweeper):
    """Looks for the best settings, trial after trial.

    Args:
        params: Spaces from a YAML file; those of the command line come in addition, and first where both name a key.
    """

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives a sweeper; the task itself runs in other processes."""
        self.loader, self.master = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> Any:
        """Search, and return the best value."""
        from brain_tumor_tl.cli.search import search

        lines = [f"{key}={value}" for key, value in (self.params or {}).items()]
        return search(self.loader, self.master, [*lines, *arguments])
