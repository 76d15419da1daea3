"""Train: configuration in, run folder out."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl import files
from brain_tumor_tl.cache import locked
from brain_tumor_tl.cli.checks import check
from brain_tumor_tl.cli.command import run_hydra
from brain_tumor_tl.cli.overrides import make_current
from brain_tumor_tl.console import console, log, run_log
from brain_tumor_tl.reporting import tables
from brain_tumor_tl.run.folder import inspect_folder


def main(arguments: Sequence[str]) -> int:
    """Train one network or, with -m, several; return the exit status."""
    run_hydra("train", arguments, run)
    return 0


def import_libraries() -> None:
    """Import what a run needs, and keep the garbage collector away from those objects for good.

    They are half a million and live until the process ends: scanning them again and again, and once more at exit, takes
    as long as many epochs of a head on cached features.
    """
    if "brain_tumor_tl.run.training_run" in sys.modules:
        return  # freezing again would keep the garbage of an earlier job of this process
    gc.disable()
    try:
        import brain_tumor_tl.run.training_run  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def run(config: DictConfig) -> dict[str, Any]:
    """Run one job in Hydra's output folder, and turn an error of the user into one message.

    Raises:
        CompactHydraException: With the message alone, if settings, files or the network are wrong.
    """
    import_libraries()
    from brain_tumor_tl.run.hardware import is_further_process
    from brain_tumor_tl.run.training_run import USER_ERRORS

    folder = Path(HydraConfig.get().runtime.output_dir)
    child = is_further_process(os.environ)
    with run_log(None if child else folder / "train.log", quiet=child):
        try:
            make_current(config)
            check(config)
            with contextlib.nullcontext() if child else locked(folder / "run.lock"):
                return train(config, folder)
        except Exception as error:
            log.debug("The error's origin:", exc_info=True)  # for the file; the terminal shows what is no user's error
            if isinstance(error, USER_ERRORS):
                raise CompactHydraException(str(error)) from error
            raise
        except KeyboardInterrupt:
            log.warning("Interrupted; the same command resumes after the last complete epoch.")
            sys.exit(130)  # 128 + SIGINT, as in shells


def train(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Train as configured, and return what `results.json` holds.

    Args:
        config: The whole configuration, checked.
        folder: The run's folder.

    Raises:
        FileExistsError: The folder holds a run with other settings.
        ValueError: Data, network and settings do not fit together.
    """
    from brain_tumor_tl.run.hardware import is_further_process
    from brain_tumor_tl.run.training_run import TrainingRun

    settings = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    # Under SLURM all processes of a run start together, and only the first may clear the folder.
    further = config.force and is_further_process(os.environ)
    state = "new" if further else inspect_folder(folder, settings, config.force)
    if state == "done":
        log.info(f"{folder} is done already; force=true trains it again.")
        return show(files.read_json(folder / "results.json"), folder)
    run = TrainingRun(settings, folder, resume=state == "cut")
    results = run.train()
    return show(results, folder) if run.trainer.is_global_zero else results


def show(results: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Print a run's tables and what to do next."""
    console.print(tables.run_table(results))
    console.print(tables.summary_of(results))
    console.print(results["protocol"]["text"], highlight=False, soft_wrap=True)
    with contextlib.suppress(ValueError):
        folder = folder.relative_to(Path.cwd())
    log.info(f"Done in {results['seconds_total']:.0f} s: {folder}")
    log.info(f"Next      tensorboard --logdir {folder.parent}")
    log.info(f"          brain-tumor-tl report {folder.parent}")
    return results
