"""Run names: what differs from the defaults in a configuration, and names made of it.

`name: ${of_run:}` and `sweep: ${of_sweep:}` of conf/train.yaml are resolved here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl.cli.config import conf_dir
from brain_tumor_tl.cli.overrides import parsed, unresolved
from brain_tumor_tl.run.folder import (
    LENGTHS,
    PATHS,
    OtherRunError,
    State,
    config_digest,
    flat,
    has_effect,
    inspect_folder,
    is_planned,
)
from brain_tumor_tl.sweep.naming import IN_BASE_NAME, base_name, run_name, split_suffix, sweep_name

BY_DEFAULT = {"name": "${of_run:}", "sweep": "${of_sweep:}"}  # the values in conf/
NO_SWEEP = "adhoc"  # the value of `sweep` in a single run
MOST_IN_NAME = 3  # settings that make the name of a run differ from that of an earlier one; beyond it a digest


def of_run(*, _root_: DictConfig) -> str:
    """Return the name of a run: its base name, and what else differs from the defaults."""
    return run_name(base_of(_root_), *named_changes(_root_))


def base_of(config: DictConfig) -> str:
    """Return the base name of a run."""
    return base_name({key: OmegaConf.select(config, key) for key in IN_BASE_NAME if "." in key or key == "seed"})


def of_sweep(*, _root_: DictConfig) -> str:
    """Return the name of a sweep: what it varies, and what else differs from the defaults.

    Hydra copies the cache of a multirun's configuration to those of its jobs, which each have one of the values only.
    """
    hydra, known = hydra_settings(_root_), OmegaConf.get_cache(_root_)["of_sweep"]
    if "name" not in known:
        single = hydra is None or hydra.mode == RunMode.RUN
        known["name"] = NO_SWEEP if single else sweep_name(swept_keys(hydra), *named_changes(_root_))
    return str(known["name"])


OmegaConf.register_new_resolver("of_run", of_run, replace=True)
OmegaConf.register_new_resolver("of_sweep", of_sweep, replace=True)
OmegaConf.register_new_resolver("of_split", split_suffix, replace=True)  # for a `name` in a user's own YAML file


def is_default(config: DictConfig, key: str) -> bool:
    """Tell whether `name` or `sweep` follows from the settings, rather than being given by the user."""
    return BY_DEFAULT[key] in str(raw_settings(OmegaConf.masked_copy(config, key))[key])


def hydra_settings(config: DictConfig) -> Any:
    """Return Hydra's own settings of a configuration, or those of the running job; None outside of Hydra."""
    return config.hydra if "hydra" in config else HydraConfig.get() if HydraConfig.initialized() else None


def swept_keys(hydra: Any) -> list[str]:
    """Return the keys and groups to which a multirun gives several values, in the order of the sweep."""
    params = OmegaConf.select(hydra, "sweeper.params") or {}
    lines = [f"{key}={value}" for key, value in params.items()] + unresolved(hydra.overrides.task)
    overrides = {override.key_or_group: override for override in map(parsed, lines)}
    return [key for key, override in overrides.items() if override.is_sweep_override()]


def group_choices(hydra: Any) -> dict[str, str]:
    """Return the config groups and their choices, in the order in which their files are merged."""
    if hydra is None:
        return usual_choices()
    chosen = reversed(hydra.runtime.choices.items())
    return {group: str(choice) for group, choice in chosen if choice and not group.startswith("hydra/")}


@cache
def usual_choices() -> dict[str, str]:
    """Return the choices of conf/train.yaml."""
    entries = [entry for entry in load(conf_dir() / "train.yaml")["defaults"] if isinstance(entry, dict)]
    named = [(group, choice) for entry in entries for group, choice in entry.items()]
    return {group: choice for group, choice in named if choice and not group.startswith("override ")}


def changes(config: DictConfig) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what a run's figures depend on and differs from the defaults.

    The file of a choice explains the values in it, so `recipe=onecycle` is one choice, not the settings that it makes.

    Returns:
        The config groups with another choice than the default, and the keys with other values than the choices give.
    """
    hydra = hydra_settings(config)
    choices, places = group_choices(hydra), [conf_dir()]
    if hydra is not None:
        places += [Path(source.path) for source in hydra.runtime.config_sources if Path(source.path).is_dir()]
    given = given_values(tuple(choices.items()), tuple(dict.fromkeys(places)))
    settings = flat({key: value for key, value in raw_settings(config).items() if key != "hydra"})
    differing = [key for key, value in settings.items() if has_effect(key) and given.get(key, ...) != value]
    usual = usual_choices()
    new = {group: choice for group, choice in choices.items() if has_effect(group) and choice != usual.get(group)}
    return new, {key: shown_value(key, OmegaConf.select(config, key, default=settings[key])) for key in differing}


def named_changes(config: DictConfig) -> tuple[dict[str, str], dict[str, Any]]:
    """Return those changes that make another run, not one that could go on: without its length, if it isn't planned."""
    choices, values = changes(config)
    left_out = () if is_planned(flat(raw_settings(config))) else LENGTHS
    return choices, {key: value for key, value in values.items() if key not in left_out}


def origin_of(config: DictConfig) -> dict[str, Any]:
    """Return where a run's settings come from, for results.json: choices, changed and given keys, a search's metric."""
    hydra = hydra_settings(config)
    choices, values = changes(config)
    lines = [] if hydra is None else map(parsed, unresolved(hydra.overrides.task))
    given = [line.key_or_group for line in lines if has_effect(line.key_or_group)]
    origin: dict[str, Any] = {"choices": group_choices(hydra), "changed": [*choices, *values], "given": given}
    of_search = hydra is not None and hydra.runtime.choices.get("hydra/sweeper") == "search"
    return origin | ({"trial": {"metric": config.search.metric}} if of_search else {})


def raw_settings(config: DictConfig) -> dict[str, Any]:
    """Return a configuration as plain values, with its interpolations as they are written."""
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    return {str(key): value for key, value in raw.items()}


@cache  # a multirun composes many jobs
def given_values(choices: Sequence[tuple[str, str]], folders: Sequence[Path]) -> Mapping[str, Any]:
    """Return the values that conf/train.yaml and the files of some choices give, by dotted keys, not resolved.

    Hydra would take a third of a second to compose them, longer than all else before a run's imports.

    Args:
        choices: Config groups and their choices; later files win.
        folders: Where the files may be; the first that has one wins.
    """
    values = flat(load(conf_dir() / "train.yaml"))
    for group, choice in choices:
        values |= file_values(group, choice, folders)
    return values


def file_values(group: str, choice: str, folders: Sequence[Path]) -> dict[str, Any]:
    """Return the values that the file of a choice gives, and those of the same group that it is based on."""
    for path in [path for folder in folders if (path := folder / group / f"{choice}.yaml").is_file()][:1]:
        content = load(path)
        bases = [entry for entry in content.get("defaults", ()) if isinstance(entry, str)]
        values = {key: value for base in bases for key, value in file_values(group, base, folders).items()}
        whole = path.read_text(encoding="utf-8").startswith("# @package _global_")
        own = {key: value for key, value in content.items() if key != "defaults"}
        return values | flat(own, "" if whole else f"{group}.")
    return {}


@cache  # conf/train.yaml is asked for its choices and for its values
def load(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file with its interpolations as they are written, empty if it is no mapping."""
    content = OmegaConf.load(path)
    return raw_settings(content) if isinstance(content, DictConfig) else {}


def shown_value(key: str, value: Any) -> Any:
    """Return a value as names show it: of a path the last part, however the path is written."""
    return Path(value).expanduser().resolve().name if key in PATHS and isinstance(value, str) else value


def choose_folder(folder: Path, settings: Mapping[str, Any], may_rename: bool) -> tuple[Path, State]:
    """Return the folder of a run and what to do with it.

    Args:
        folder: The folder with the run's name.
        settings: The run's settings, resolved.
        may_rename: Whether the run may have a longer name, with what differs, if the folder holds another run.

    Raises:
        OtherRunError: The folder holds another run and the name may not change, or that of the longer name does too.
    """
    try:
        return folder, inspect_folder(folder, settings, force=False)
    except OtherRunError as other:
        if other.cut_off or not may_rename:
            raise
        keys, values = other.keys, flat(settings)
    name = run_name(folder.name, {}, {key: shown_value(key, values.get(key)) for key in keys})
    longer = folder.with_name(name if len(keys) <= MOST_IN_NAME else f"{folder.name}-{config_digest(settings)[:8]}")
    return longer, inspect_folder(longer, settings, force=False)
