"""Multirun: the overrides of a multirun's jobs become jobs, each with its name, folder and command."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from brain_tumor_tl.cli.checks import checked_settings
from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.cli.overrides import parsed, quoted, replace_old_names, unresolved
from brain_tumor_tl.cli.run_names import base_of, choose_folder, is_default, swept_keys
from brain_tumor_tl.sweep.devices import Device, devices_needed
from brain_tumor_tl.sweep.manifest import SweepJob
from brain_tumor_tl.sweep.naming import run_name

# Hydra's own settings that belong to the multirun, not to its single runs.
OF_THE_MULTIRUN = ("hydra.mode", "hydra.run.dir", "hydra.sweep", "hydra.sweeper", "hydra.launcher",
                   "hydra/launcher")  # fmt: skip

Lines = Sequence[Sequence[str]]  # the overrides of each job


def plan_jobs(
    loader: ConfigLoader, master: DictConfig, lines: Lines, pool: Sequence[Device] | None = None
) -> list[SweepJob]:
    """Compose every job; refuse all of them if one can't run.

    Args:
        loader: Composes configurations.
        master: The configuration of the multirun.
        lines: The overrides of each job.
        pool: The devices that the jobs share; None if a scheduler assigns devices.

    Raises:
        CompactHydraException: Every problem of every job.
    """
    jobs: list[SweepJob] = []
    problems: list[str] = []
    swept, _ = swept_keys(master.hydra), master.sweep  # Hydra hands the sweep's name on to the jobs from here
    for number, overrides in enumerate(lines):
        try:
            with job_config(loader, master, overrides, number) as config:
                job = make_job(config, [*of_single_run(master), *overrides], swept)
                if pool is not None:
                    trainer = cast("dict[str, Any]", OmegaConf.to_container(config.trainer))
                    job.needs = devices_needed(trainer, master.hydra.launcher.devices_per_job, len(pool))
                jobs.append(job)
        except (ValueError, OSError) as error:
            problems += str(error).splitlines()
    problems += shared_folders(jobs)
    if problems:
        raise CompactHydraException("\n".join([*dict.fromkeys(problems), "No job was started."]))
    return jobs


@contextmanager
def job_config(
    loader: ConfigLoader, master: DictConfig, overrides: Sequence[str], number: int = 0
) -> Iterator[DictConfig]:
    """Compose a job's configuration; `${hydra:...}` stands for the job's Hydra settings while the context lasts."""
    config = loader.load_sweep_config(master, list(overrides))
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    replace_old_names(config)
    HydraConfig.instance().set_config(config)
    try:
        yield config
    finally:
        HydraConfig.instance().set_config(master)


def make_job(config: DictConfig, overrides: Sequence[str], swept: Sequence[str]) -> SweepJob:
    """Return one job, "skipped" if its folder holds its finished run.

    Args:
        config: The job's configuration, including Hydra's own settings, which are removed.
        overrides: The overrides of its single run.
        swept: The keys and groups that differ between the jobs.

    Raises:
        ValueError: Its settings are wrong.
        FileExistsError: Its folder holds a run with other settings.
    """
    unnamed = is_default(config, "name") and is_default(config, "sweep")
    config.name = name_of(config, swept)
    folder, hydra_settings = Path(config.hydra.sweep.dir, config.hydra.sweep.subdir).absolute(), config.hydra
    settings, state, may_rename = settings_of(config), "new", unnamed and folder.name == config.name
    if not config.force:
        chosen, state = choose_folder(folder, settings, may_rename)
        if chosen != folder:
            config.name, folder = chosen.name, chosen
    trainer = settings["trainer"]
    return SweepJob(
        config.name,
        folder,
        list(overrides),
        single_run(hydra_settings, [*overrides, *own_names(config)], folder),
        model=config.model.name,
        method=config.method.name,
        seed=config.seed,
        processes=trainer["devices"] if isinstance(trainer["devices"], int) else 1,
        max_epochs=trainer["max_epochs"],
        state="skipped" if state == "done" else "waiting",
    )


def own_names(config: DictConfig) -> list[str]:
    """Return the overrides that name a job and its sweep, which its single run would name otherwise."""
    return [f"{key}={quoted(config[key])}" for key in ("name", "sweep")]


def settings_of(config: DictConfig) -> dict[str, Any]:
    """Return a job's settings, checked, as plain values; Hydra's own are removed from the configuration."""
    with open_dict(config):
        config.pop("hydra")
    return checked_settings(config)


def name_of(config: DictConfig, swept: Sequence[str]) -> str:
    """Return the name of a job, from its settings."""
    groups = config.hydra.runtime.choices
    choices = {group: str(groups[group]) for group in swept if group in groups}
    values = {key: OmegaConf.select(config, key) for key in swept if key not in groups}
    return run_name(base_of(config) if is_default(config, "name") else config.name, choices, values)


def single_run(hydra_settings: DictConfig, overrides: Sequence[str], folder: Path) -> list[str]:
    """Return the command that starts a single run from the same YAML files as this multirun.

    Args:
        hydra_settings: Hydra's own settings of the job.
        overrides: The overrides of the run.
        folder: Its run folder.
    """
    command = [sys.executable, "-m", "brain_tumor_tl", "train", "--config-name", hydra_settings.job.config_name]
    command += source_flags(hydra_settings)
    return [*command, *overrides, f"hydra.run.dir={quoted(str(folder))}", "hydra.mode=RUN"]


def source_flags(hydra_settings: DictConfig) -> list[str]:
    """Return the flags that name the folders of YAML files that a command used."""
    flags = []
    for source in hydra_settings.runtime.config_sources:
        if source.provider == "command-line":
            flags += ["--config-dir", source.path]
        elif source.provider == "main" and Path(source.path) != conf_dir():
            flags += ["--config-path", source.path]
    return flags


def of_single_run(master: DictConfig) -> list[str]:
    """Return those of a multirun's overrides of Hydra's own settings that hold for its single runs too."""
    lines = unresolved(master.hydra.overrides.hydra)
    return [line for line in lines if not parsed(line).key_or_group.startswith(OF_THE_MULTIRUN)]


def shared_folders(jobs: Sequence[SweepJob]) -> list[str]:
    """Return an error message for each job that would write to the folder of another one."""
    first: dict[Path, SweepJob] = {}
    return [
        f"Two jobs would share the folder {job.folder}: `{' '.join(other.overrides)}` and "
        f"`{' '.join(job.overrides)}`. Put what differs into the name, name='${{model.name}}-${{...}}'."
        for job in jobs
        if (other := first.setdefault(job.folder, job)) is not job
    ]
