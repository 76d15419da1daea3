"""Train: configuration in, run folder out."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, read_write

from brain_tumor_tl import files
from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.command import run_hydra
from brain_tumor_tl.cli.outcome import in_words
from brain_tumor_tl.cli.run_names import choose_folder, is_default, origin_of
from brain_tumor_tl.cli.signals import interrupted_status
from brain_tumor_tl.reporting.discover import FAILURE
from brain_tumor_tl.reporting.results_file import read_results
from brain_tumor_tl.run.folder import OtherRunError, inspect_folder, note_failure, remove_empty

VERBOSE = ("-v", "--verbose")
SHOWN = ("per_class", "classes")  # keys of a finished run's results.json that are printed
log = logging.getLogger("brain_tumor_tl")


def main(arguments: Sequence[str]) -> int:
    """Train one network or, with -m, several; return the exit status."""
    kept = [argument for argument in arguments if argument not in VERBOSE]
    run_hydra("train", kept, partial(run, verbose=len(kept) < len(arguments)))
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


def run(config: DictConfig, verbose: bool = False) -> dict[str, Any]:
    """Run one job in Hydra's output folder, and turn an error of the user into one message.

    Args:
        config: The whole configuration.
        verbose: Print all of it.

    Raises:
        CompactHydraException: With the message alone, if settings, files or the network are wrong.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        return run_in_folder(config, folder, verbose)
    except BaseException as error:  # as an interrupt before the run began
        remove_empty(folder)
        if isinstance(error, ValueError | OSError):  # of the settings
            raise CompactHydraException(in_words(error)) from error
        raise


def run_in_folder(config: DictConfig, folder: Path, verbose: bool) -> dict[str, Any]:
    """Check the settings and run the job in a folder, or in one beside it; see `run`."""
    settings = checked_settings(config)
    import_libraries()
    from brain_tumor_tl.console import config_tree, console, run_log  # rich, for which --cfg need not wait
    from brain_tumor_tl.run.hardware import is_further_process
    from brain_tumor_tl.run.training_run import USER_ERRORS

    child = is_further_process(os.environ)
    try:
        if verbose and not child:
            console.print(config_tree(settings, settings["name"]))
        if is_default(config, "name") and not config.force and folder.name == config.name:
            folder = own_folder(settings, folder)
        with run_log(None if child else folder / "train.log", quiet=child):
            return run_locked(settings, folder, origin_of(config), child)
    except Exception as error:
        if not child:
            with contextlib.suppress(OSError):  # of a full disk, which is what the error is about
                note_failure(folder, error)
        if isinstance(error, USER_ERRORS):
            raise CompactHydraException(in_words(error)) from error
        raise


def own_folder(settings: dict[str, Any], folder: Path) -> Path:
    """Return the folder of a run that nobody named: one beside Hydra's if that holds a run with other settings.

    Args:
        settings: The run's settings, which get the new name.
        folder: The folder that Hydra made.
    """
    chosen, _ = choose_folder(folder, settings, may_rename=True)
    if chosen != folder:
        settings["name"] = chosen.name
        chosen.mkdir(exist_ok=True)
        hydra_settings: Any = HydraConfig.get()
        with read_write(hydra_settings):  # Lightning names this folder to the further processes of a run
            hydra_settings.run.dir = str(chosen)
    return chosen


def run_locked(settings: dict[str, Any], folder: Path, origin: dict[str, Any], child: bool) -> dict[str, Any]:
    """Train while no other process can use the folder; log an interrupt or the origin of an error.

    Args:
        settings: The run's settings, checked.
        folder: The run's folder.
        origin: Where the settings come from, as `origin_of` returns it.
        child: Whether this is a further process of the run.
    """
    from brain_tumor_tl.cache import locked  # NumPy, which Tab completion and errors need not wait for

    try:
        with contextlib.nullcontext() if child else locked(folder / "run.lock"):
            return train(settings, folder, origin)
    except KeyboardInterrupt as interrupt:
        from brain_tumor_tl.run.failure import kept

        log.warning(f"Interrupted; {kept(folder, settings)}.")
        sys.exit(interrupted_status(interrupt))
    except Exception as error:
        from brain_tumor_tl.run.failure import explained

        log.debug("The error's origin:", exc_info=True)  # for the file; the terminal shows what is no user's error
        if known := explained(error, folder, settings):
            raise known from error
        raise


def train(settings: dict[str, Any], folder: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Train with some settings, and return what `results.json` holds.

    Args:
        settings: The run's settings, checked.
        folder: The run's folder.
        origin: Where the settings come from, as `origin_of` returns it.

    Raises:
        OtherRunError: The folder holds a run with other settings.
        ValueError: Data, network and settings do not fit together.
    """
    from brain_tumor_tl.run.factory import check_inputs
    from brain_tumor_tl.run.hardware import is_further_process
    from brain_tumor_tl.run.training_run import TrainingRun

    if settings["trainer"]["find_lr"]:
        from brain_tumor_tl.run.learning_rate import find_learning_rate

        return {"suggestion": find_learning_rate(TrainingRun(settings, folder, origin=origin))}
    # Under SLURM all processes of a run start together, and only the first may clear the folder.
    further = settings["force"] and is_further_process(os.environ)
    try:
        state = "new" if further else inspect_folder(folder, settings, settings["force"])
    except OtherRunError:
        check_inputs(settings)
        raise
    if state == "done":
        log.info(f"{folder} is done already; force=true trains it again.")
        return show(read_results(folder / "results.json", SHOWN), folder, ran=False)
    if state == "longer":
        epochs, most = len(files.read_csv(folder / "metrics.csv")), settings["trainer"]["max_epochs"]
        log.info(f"Continue  after the {epochs} epochs that {folder} has; trainer.max_epochs={most}")
    (folder / FAILURE).unlink(missing_ok=True)
    files.remove_leftovers(folder)
    run = TrainingRun(settings, folder, state in ("cut", "longer"), origin)
    results = run.train()
    return show(results, folder) if run.trainer.is_global_zero else results


def show(results: dict[str, Any], folder: Path, ran: bool = True) -> dict[str, Any]:
    """Print a run's tables and what to do next, and how long it took if it ran just now."""
    from brain_tumor_tl.console import console
    from brain_tumor_tl.reporting import tables
    from brain_tumor_tl.reporting.study import why_incomparable

    console.print(tables.run_table(results))
    if results.get("best_accuracy") is not None:
        published = results.get("study") if not why_incomparable(results) else None
        study = f"; the study's accuracy {100 * published['accuracy']:.2f}" if published else ""
        log.info(f"best_accuracy {100 * results['best_accuracy']:.2f} in epoch {results.get('best_epoch')}{study}")
    console.print(results["protocol"]["text"], highlight=False, soft_wrap=True)
    with contextlib.suppress(ValueError):
        folder = folder.relative_to(Path.cwd())
    if ran:
        log.info(f"Done in {results['seconds_total']:.0f} s: {folder}")
    log.info(f"Next      brain-tumor-tl report {folder}")
    log.info(f"          brain-tumor-tl report {folder.parent}")
    log.info(f"          tensorboard --logdir {folder.parent}")
    return results
