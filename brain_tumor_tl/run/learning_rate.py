"""Learning rate: a range test in place of a run, with a plot and a suggestion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from rich.progress import track
from torch import Tensor

from brain_tumor_tl.console import console, log
from brain_tumor_tl.data.batches import Batches
from brain_tumor_tl.files import write_bytes, write_csv
from brain_tumor_tl.model.optim import build_optimizer
from brain_tumor_tl.model.parameter_groups import parameter_groups
from brain_tumor_tl.model.range_test import LOWEST, STEPS, run_range_test
from brain_tumor_tl.reporting.plots import png
from brain_tumor_tl.reporting.plots_rates import rates_figure
from brain_tumor_tl.run import hardware
from brain_tumor_tl.run.introduction import introduction
from brain_tumor_tl.run.kept import keep

if TYPE_CHECKING:
    from brain_tumor_tl.run.training_run import TrainingRun

FILES = ("lr_range.csv", "lr_range.png")


def find_learning_rate(run: TrainingRun) -> float | None:
    """Write `lr_range.csv` and `lr_range.png` to the run's folder, and tell which rate they suggest; return that.

    The network is that of the run, and is spoilt afterwards: the run must not train with it.

    Args:
        run: It has not trained, and takes its steps one by one.
    """
    for title, sentence in introduction(run):
        if title not in ("Run", "Training"):  # there is none
            log.info(f"{title:<10}{sentence}")
    log.info(f"Range test  {STEPS} steps at rising learning rates; nothing is trained")
    training = run.sources(keep(run) if run.compute.caches_features else None)[1]
    model, p = run.model.to(run.device).train(), run.model.hparams
    groups = parameter_groups(model.backbone, model.head, p["lr"], p["backbone_lr_factor"])

    def learn(batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        inputs, labels, _ = batch
        inputs, targets = (inputs, labels) if model.mix is None else model.mix(inputs, labels)
        return model.loss(model(inputs), targets)

    found = run_range_test(
        learn,
        build_optimizer(p["optimizer"], groups, p["lr"], p["optimizer_options"], p["fused"]),
        track(forever(training), "Range test", STEPS, console=console, transient=True, disable=not console.is_terminal),
        partial(hardware.autocast, run.device, run.compute.precision),
    )
    rows = zip(found.rates, found.losses, found.smoothed, strict=True)
    columns = ("learning_rate", "loss", "smoothed_loss")
    write_csv(run.folder / FILES[0], [dict(zip(columns, map(float, row), strict=True)) for row in rows])
    name = run.settings["name"]
    figure = rates_figure(found.rates, found.losses, found.smoothed, found.suggestion, name)
    write_bytes(run.folder / FILES[1], png(figure))
    tell(found.suggestion, found.rates[-1] if len(found.rates) else 0.0, p["scheduler_options"])
    log.info(f"Plot      {run.folder / FILES[1]}")
    return found.suggestion


def forever(batches: Batches) -> Iterator[Any]:
    """Yield the batches of one epoch after the other, each in its own order."""
    for number in count():
        yield from replace(batches, epoch=partial(int, number))


def tell(suggestion: float | None, last: float, scheduler: Any) -> None:
    """Log what a range test suggests."""
    if suggestion is None:
        log.warning(f"No suggestion: the loss doesn't fall between {LOWEST:g} and {last:.2g}. Look at the plot.")
        return
    peak = " (the peak of the schedule follows it)" if "max_lr" in (scheduler or {}) else ""
    log.info(
        f"Suggestion  optimizer.lr={suggestion:.2g}, where the loss falls fastest{peak}; it stopped at {last:.2g}. "
        "Without trainer.find_lr the same command trains."
    )
