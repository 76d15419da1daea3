"""Plugin: `hydra/sweeper=search`, used by `brain-tumor-tl search`. Hydra finds sweepers only in this namespace.

Every Hydra program of an environment imports this module, so it only forwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class SearchSweeper(Sweeper):
    """Finds the best settings, trial after trial.

    Args:
        params: A search space from a YAML file; the command line adds to it, and wins for a key in both.
    """

    def __init__(self, params: Mapping[str, Any] | None) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes to a sweeper; the task itself runs in other processes."""
        self.loader, self.master = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> Any:
        """Search, and return the best value."""
        from brain_tumor_tl.cli.sweeper import search

        lines = [f"{key}={value}" for key, value in (self.params or {}).items()]
        return search(self.loader, self.master, [*lines, *arguments])
