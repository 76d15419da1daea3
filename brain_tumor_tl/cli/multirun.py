"""Multirun: the overrides of a multirun's jobs become jobs, each with its name, folder and command, or refusals."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from brain_tumor_tl.cli.checks import check
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.run.folder import inspect_folder
from brain_tumor_tl.sweep.manifest import SweepJob
from brain_tumor_tl.sweep.naming import job_name

# Hydra's own settings that belong to the multirun, not to its single runs.
OF_THE_MULTIRUN = ("hydra.mode", "hydra.run.dir", "hydra.sweep", "hydra.sweeper", "hydra.launcher",
                   "hydra/launcher", "hydra/sweeper")  # fmt: skip


def plan(
    loader: ConfigLoader,
    master: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    needs_of: Callable[[dict[str, Any]], int],
) -> list[SweepJob]:
    """Compose every job, and refuse all of them where one can't run as it is.

    Args:
        loader: Composes configurations.
        master: The configuration of the multirun.
        job_overrides: What was typed for each job.
        needs_of: Returns from a job's `trainer` settings how many devices to lease for it.

    Raises:
        CompactHydraException: Every problem of every job.
    """
    jobs: list[SweepJob] = []
    problems: list[str] = []
    swept = swept_keys(master)
    for overrides in job_overrides:
        config = loader.load_sweep_config(master, list(overrides))
        try:
            jobs.append(make_job(config, [*of_single_run(master), *overrides], swept, needs_of))
        except (ValueError, OSError) as error:
            problems += str(error).splitlines()
    problems += shared_folders(jobs)
    if problems:
        raise CompactHydraException("\n".join([*dict.fromkeys(problems), "No job was started."]))
    return jobs


def make_job(
    config: DictConfig,
    overrides: Sequence[str],
    swept: Sequence[str],
    needs_of: Callable[[dict[str, Any]], int],
) -> SweepJob:
    """Return one job, "skipped" where its folder holds it finished.

    Args:
        config: The job's configuration, Hydra's own settings included.
        overrides: What of the command line is for the job.
        swept: The keys and groups that differ between the jobs.
        needs_of: Returns from its `trainer` settings how many devices to lease for it.

    Raises:
        ValueError: Its settings don't fit.
        FileExistsError: Its folder holds a run with other settings.
    """
    with hydra_config(config):
        config.name = name_of(config, swept)
        folder = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute()
        command = single_run(config.hydra, [*overrides, f"name={quoted(config.name)}"], folder)
        with open_dict(config):
            config.pop("hydra")
        check(config)
        settings = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    trainer = settings["trainer"]
    done = not config.force and inspect_folder(folder, settings, force=False) == "done"
    return SweepJob(
        config.name,
        folder,
        list(overrides),
        command,
        model=config.model.name,
        method=config.method.name,
        seed=config.seed,
        needs=needs_of(trainer),
        processes=trainer["devices"] if isinstance(trainer["devices"], int) else 1,
        max_epochs=trainer["max_epochs"],
        state="skipped" if done else "waiting",
    )


def name_of(config: DictConfig, swept: Sequence[str]) -> str:
    """Return the name of a job from what it is."""
    groups = config.hydra.runtime.choices
    choices = {group: str(groups[group]) for group in swept if group in groups}
    values = {key: OmegaConf.select(config, key) for key in swept if key not in groups}
    return job_name(config.name, choices, values)


def swept_keys(config: DictConfig) -> list[str]:
    """Return the keys and groups that a multirun gives several values, in the order of the sweep."""
    params = OmegaConf.select(config, "hydra.sweeper.params") or {}
    lines = [f"{key}={value}" for key, value in params.items()] + typed(config.hydra.overrides.task)
    overrides = {override.key_or_group: override for override in map(parsed, lines)}
    return [key for key, override in overrides.items() if override.is_sweep_override()]


def single_run(hydra_settings: DictConfig, overrides: Sequence[str], folder: Path) -> list[str]:
    """Return the command that starts a single run from the same YAML files as this multirun.

    Args:
        hydra_settings: Hydra's own settings of the job.
        overrides: What of the command line is for the job.
        folder: Its run folder.
    """
    command = [sys.executable, "-m", "brain_tumor_tl", "train", "--config-name", hydra_settings.job.config_name]
    for source in hydra_settings.runtime.config_sources:
        if source.provider == "command-line":
            command += ["--config-dir", source.path]
        elif source.provider == "main" and Path(source.path) != conf_dir():
            command += ["--config-path", source.path]
    return [*command, *overrides, f"hydra.run.dir={quoted(str(folder))}", "hydra.mode=RUN"]


def of_single_run(master: DictConfig) -> list[str]:
    """Return those of a multirun's overrides of Hydra's own settings that a single run of it takes too."""
    lines = typed(master.hydra.overrides.hydra)
    return [line for line in lines if not parsed(line).key_or_group.startswith(OF_THE_MULTIRUN)]


def of_the_job(job: SweepJob) -> list[str]:
    """Return a job's overrides without those of Hydra's own settings, which the multirun has already."""
    return [line for line in job.overrides if not parsed(line).key_or_group.startswith("hydra")]


def shared_folders(jobs: Sequence[SweepJob]) -> list[str]:
    """Return what is wrong where two jobs would write to one folder."""
    first: dict[Path, SweepJob] = {}
    problems = []
    for job in jobs:
        other = first.setdefault(job.folder, job)
        if other is not job:
            problems.append(
                f"Two jobs would share the folder {job.folder}: `{' '.join(other.overrides)}` and "
                f"`{' '.join(job.overrides)}`. Name what tells them apart, name='${{model.name}}-${{...}}'."
            )
    return problems


@contextmanager
def hydra_config(config: DictConfig) -> Iterator[None]:
    """Let `${hydra:...}` stand for a job's own Hydra settings while the context lasts."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


def typed(overrides: ListConfig) -> list[str]:
    """Return overrides as they were typed; going through the list itself would resolve what stands in `${...}`."""
    return cast("list[str]", OmegaConf.to_container(overrides, resolve=False))


def parsed(line: str) -> Override:
    """Return an override of a command line."""
    return OverridesParser.create().parse_override(line)


def quoted(text: str) -> str:
    """Return a text as a value of Hydra's grammar that stands for itself.

    There a backslash escapes a quote and, before a quote, another backslash; `$` begins an interpolation.
    """
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"
