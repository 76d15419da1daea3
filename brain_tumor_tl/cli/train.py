"""Train: configuration in, run folder out."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from lightning.fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl import files
from brain_tumor_tl.cache import locked
from brain_tumor_tl.cli.checks import check
from brain_tumor_tl.console import console, log, run_log
from brain_tumor_tl.reporting import tables
from brain_tumor_tl.run.folder import inspect_folder
from brain_tumor_tl.run.hardware import is_further_process
from brain_tumor_tl.run.training_run import Job


def run(config: DictConfig) -> dict[str, Any]:
    """Run one training job of the command line in Hydra's output folder, and turn a user's error into one message.

    Raises:
        CompactHydraException: With the message alone, where settings, files or the network don't fit.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    child = is_further_process(os.environ)
    with run_log(None if child else folder / "train.log", quiet=child):
        try:
            check(config)
            with contextlib.nullcontext() if child else locked(folder / "run.lock"):
                return train(config, folder)
        except (ValueError, OSError, ImportError, MisconfigurationException) as error:
            log.debug("What led to it:", exc_info=True)
            raise CompactHydraException(str(error)) from error
        except Exception:
            log.debug("What led to it:", exc_info=True)  # the terminal shows it by itself
            raise
        except KeyboardInterrupt:
            log.warning("Interrupted; the same command resumes after the last whole epoch.")
            sys.exit(130)  # 128 + SIGINT, as shells have it


def train(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Train as configured, and return what `results.json` holds.

    Args:
        config: The whole configuration, checked.
        folder: The run's folder.

    Raises:
        FileExistsError: The folder holds a run with other settings.
        ValueError: Data, network and settings do not fit each other.
    """
    settings = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    # Under SLURM the processes of a run start together, and only the first one may clear the folder.
    further = config.force and is_further_process(os.environ)
    state = "new" if further else inspect_folder(folder, settings, config.force)
    if state == "done":
        log.info(f"{folder} is done already; force=true trains anew.")
        return show(files.read_json(folder / "results.json"), folder)
    job = Job(config, settings, folder, resume=state == "cut")
    results = job.train()
    return show(results, folder) if job.trainer.is_global_zero else results


def show(results: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Print a run's tables and what to do next."""
    console.print(tables.class_table(results))
    console.print(tables.summary_of(results))
    console.print(results["protocol"]["text"], highlight=False, soft_wrap=True)
    with contextlib.suppress(ValueError):
        folder = folder.relative_to(Path.cwd())
    log.info(f"Done in {results['seconds_total']:.0f} s: {folder}")
    log.info(f"Next      tensorboard --logdir {folder.parent}")
    log.info(f"          brain-tumor-tl report {folder.parent}")
    return results
