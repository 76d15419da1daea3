"""Lightning internals: what the model needs of Lightning beyond its documented interface, checked with 2.6."""

from __future__ import annotations

import lightning as L


def count_steps(trainer: L.Trainer, steps: int) -> None:
    """Add optimizer steps that Lightning did not see to `trainer.global_step`."""
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    for count in (progress.total, progress.current):
        count.ready += steps
        count.completed += steps


def resume_by_epochs(trainer: L.Trainer) -> None:
    """Resume after the last epoch with `max_steps`, too: Lightning 2.6 would end that epoch again, without a batch."""
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]  # no more than that
