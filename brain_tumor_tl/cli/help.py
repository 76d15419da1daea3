"""Help: the pages of `brain-tumor-tl --help` and its verbs; their texts are in `help_pages/`."""

from __future__ import annotations

from pathlib import Path
from string import Template

import hydra
from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl.cli import run_names
from brain_tumor_tl.cli.config import choices_of, conf_dir, config_groups
from brain_tumor_tl.cli.keys import Key, declared


def help_page(verb: str) -> str:
    """Return the help of a verb, with every key and group that its text asks for."""
    text = Template((Path(__file__).parent / "help_pages" / f"{verb}.txt").read_text(encoding="utf-8"))
    parts = {group: "|".join(choices_of(group)) for group in config_groups()}
    if "$keys" in text.template or "$search_keys" in text.template:
        defaults = composed([])
        defaults.name = run_names.base_of(defaults)  # the whole name, as the defaults differ in nothing from themselves
        lines = {key.path: key_help(key, defaults) for key in declared().values()}
        parts["keys"] = "\n".join(lines.values())
        parts["search_keys"] = "\n".join(lines[path] for path in lines if path.startswith("search."))
    return text.substitute(parts).rstrip("\n")


def key_help(key: Key, defaults: DictConfig) -> str:
    """Return the help of one key."""
    value = OmegaConf.select(defaults, key.path, throw_on_missing=False)
    kind = "|".join(map(str, key.rule["choices"])) or key.type_name
    return f"  {key.path}={'null' if value is None else value} ({kind})\n      {key.rule['meaning']}"


def composed(overrides: list[str]) -> DictConfig:
    """Return the configuration of `brain-tumor-tl train` with some overrides.

    Raises:
        hydra.errors.HydraException: An override is not valid.
    """
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose("train", overrides)
