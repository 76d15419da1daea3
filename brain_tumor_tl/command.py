"""Command: `brain-tumor-tl train`'s line handed to Hydra, after a check of its keys; and its help page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl.config import Key, TrainConfig, conf_dir, keys, unknown_key

FLAGS_WITH_VALUE = ("--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd", "--cfg", "-c", "--package", "-p", "--info", "-i")


def run_train(arguments: list[str]) -> None:
    """Check the overrides' keys, then let Hydra compose the configuration and run the job or jobs.

    Args:
        arguments: The command line after `brain-tumor-tl train`.
    """
    if "-h" in arguments or "--help" in arguments:
        print(help_page())
        return
    refuse_unknown_keys(arguments)
    whole = sys.argv
    sys.argv = [whole[0], *arguments]

    @hydra.main(config_path=str(conf_dir()), config_name="train", version_base="1.3")
    def task(config: DictConfig) -> dict[str, Any]:
        sys.argv = whole  # Lightning starts further processes with the same command line
        from brain_tumor_tl.train import run

        return run(config)

    task()


def refuse_unknown_keys(arguments: Sequence[str]) -> None:
    """End with the nearest right names where overrides name keys that do not exist."""
    groups = config_groups()
    problems = []
    for argument in overrides_in(arguments):
        try:
            override = OverridesParser.create().parse_override(argument)
        except HydraException:
            continue  # Hydra words its own syntax errors well
        problem = unknown_key(override.key_or_group, groups)
        if problem:
            problems.append(problem)
    if problems:
        print("\n".join([*problems, "`brain-tumor-tl train --help` lists every key."]), file=sys.stderr)
        sys.exit(2)


def overrides_in(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are overrides rather than flags or values of flags."""
    return [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if not argument.startswith("-") and before not in FLAGS_WITH_VALUE
    ]


def config_groups() -> list[str]:
    """Return the names of the config groups."""
    return sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir())


def choices_of(group: str) -> list[str]:
    """Return what a config group can be set to."""
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def help_page() -> str:
    """Return a sentence for every key, with its value when nothing is overridden, and for every group."""
    defaults = default_values()
    lines = [
        "brain-tumor-tl train [GROUP=CHOICE] [KEY=VALUE] ...: train one network, write its run folder",
        "brain-tumor-tl train -m KEY=VALUE,VALUE ...: train every combination",
        "",
        "Groups, sets of values chosen by name:",
    ]
    lines += [f"  {group}={'|'.join(choices_of(group)) or '...'}" for group in config_groups()]
    lines += ["", "Keys, with their values when nothing is given:"]
    lines += [line for key in keys() for line in key_lines(key, defaults)]
    lines += [
        "",
        "Hydra's own flags:",
        "  --config-name NAME      start from conf/NAME.yaml in place of conf/train.yaml",
        "  --config-dir PATH       look for further YAML files in a folder of your own",
        "  --cfg job               print the composed configuration and do nothing",
        "  --multirun, -m          run every combination of comma-separated values",
        "  -sc install=bash        print what makes Tab complete keys and values",
        "",
        "Examples:",
        "  brain-tumor-tl train model=mobilenet_v2 method=frozen data.root=PATH trainer.max_epochs=20",
        "  brain-tumor-tl train -m model=resnet18,resnet50 method=frozen,finetune seed=0,1,2",
        "  brain-tumor-tl train data=phantom model.weights=null",
    ]
    return "\n".join(lines)


def key_lines(key: Key, defaults: DictConfig) -> list[str]:
    """Return the help of one key."""
    value = OmegaConf.select(defaults, key.path, throw_on_missing=False)
    shown = "null" if value is None else str(value)
    choices = f" ({'|'.join(map(str, key.rule['choices']))})" if key.rule["choices"] else f" ({key.type_name})"
    return [f"  {key.path}={shown}{choices}", f"      {key.rule['meaning']}"]


def default_values() -> DictConfig:
    """Return the configuration that `brain-tumor-tl train` uses when nothing is overridden."""
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose("train")


SCHEMA = TrainConfig  # importing the module registers it with Hydra
PACKAGE = Path(__file__).parent
