"""Plugin: `hydra/launcher=slurm`: submitit's launcher with this package's run names and checks; finished runs are kept.

Hydra imports this module in every program of the environment, whether or not the extra `slurm` is installed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from hydra.core.utils import JobReturn

with contextlib.suppress(ImportError):
    from hydra_plugins.hydra_submitit_launcher import submitit_launcher

    class SlurmLauncher(submitit_launcher.SlurmLauncher):  # type: ignore[misc]  # untyped
        """Submits each job of a multirun to SLURM, except those that are finished."""

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            """Run a batch of jobs and return how each of them ended."""
            from brain_tumor_tl.cli.launcher import submit

            start, loader = super().launch, self.hydra_context.config_loader
            return submit(lambda lines: start(lines, initial_job_idx), loader, self.config, job_overrides)
