"""Command: the line of a verb, checked, brought up to date and handed to Hydra.

The only module that replaces `sys.argv`: `hydra.main` of Hydra 1.3 has no other way to take arguments.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from brain_tumor_tl.cli.config import choices_of, conf_dir, config_groups
from brain_tumor_tl.cli.keys import unknown_key
from brain_tumor_tl.cli.overrides import current, overrides_in, parsed, quoted_path
from brain_tumor_tl.names import nearest
from brain_tumor_tl.sweep.parent_watch import end_with_parent


def accepted(arguments: Sequence[str]) -> list[str]:
    """Return a line as Hydra takes it: paths quoted, old names replaced, flags first; exit if it has unknown keys."""
    arguments = [quoted_path(argument) for argument in arguments]
    overrides = overrides_in(arguments)
    if not {"-sc", "--shell-completion"} & set(arguments):
        check_keys(arguments)
    # argparse rejects overrides on both sides of a flag.
    return [*(argument for argument in arguments if argument not in overrides), *map(current, overrides)]


def run_hydra(config_name: str, arguments: Sequence[str], run: Callable[[DictConfig], dict[str, Any]]) -> None:
    """Let Hydra compose the configuration and run the job or jobs.

    Args:
        config_name: The file of `conf/` to start from if the line names no other.
        arguments: The command line after the verb.
        run: Runs one job.
    """
    line = accepted(arguments)
    end_with_parent()

    @hydra.main(config_path=str(conf_dir()), config_name=config_name, version_base="1.3")
    def task(config: DictConfig) -> dict[str, Any]:
        sys.argv = whole  # Lightning starts further processes with the same command line
        try:
            return run(config)
        except CompactHydraException as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise  # the other jobs continue, and Hydra reports this one at the end
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    whole, sys.argv = sys.argv, [sys.argv[0], *line]
    try:
        task()
    finally:
        sys.argv = whole


def check_keys(arguments: Sequence[str]) -> None:
    """Exit with the nearest valid names if overrides name keys or choices that do not exist."""
    groups, problems = config_groups(), []
    own_folder = any(
        argument.split("=")[0] in ("--config-dir", "-cd", "--config-path", "-cp") for argument in arguments
    )
    for argument in overrides_in(arguments):
        try:
            override = parsed(argument)
        except HydraException:
            continue  # Hydra explains its own syntax errors well
        problem = unknown_key(override.key_or_group)
        if not problem and override.key_or_group in groups and not own_folder:
            problem = unknown_choice(override)
        if problem:
            problems.append(problem)
    if problems:
        print("\n".join([*problems, "`brain-tumor-tl train --help` lists every key."]), file=sys.stderr)
        sys.exit(2)


def unknown_choice(override: Override) -> str | None:
    """Return an error message if a config group is set to a choice that does not exist, else None."""
    known = choices_of(override.key_or_group)
    if not known or override.is_delete() or override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return None
    values = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
    wrong = next((value for value in values if isinstance(value, str) and value not in known), None)
    if wrong is None:
        return None
    extra = " Any other network of torchvision: model.name=NAME." if override.key_or_group == "model" else ""
    return (
        f"`{override.key_or_group}` can't be {wrong!r}.{nearest(wrong, known)} "
        f"Expected one of {', '.join(known)}.{extra}"
    )
