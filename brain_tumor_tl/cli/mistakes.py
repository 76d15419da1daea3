"""Mistakes: what is wrong with a command line, and what Hydra refuses, as sentences with a way out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import IntervalSweep, Override, ValueType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException, ValidationError

from brain_tumor_tl.cli.checks import violation
from brain_tumor_tl.cli.config import TrainConfig, choices_of, conf_dir, config_groups
from brain_tumor_tl.cli.keys import declared, inside_open_table, tables, unknown_key
from brain_tumor_tl.cli.overrides import FLAGS_WITH_VALUE, overrides_in, parsed
from brain_tumor_tl.names import nearest
from brain_tumor_tl.run.causes import causes

FLAGS = (
    *FLAGS_WITH_VALUE, "--multirun", "-m", "--run", "-r", "--resolve", "--hydra-help", "--shell-completion", "-sc",
)  # fmt: skip
VALUES_OF_FLAGS = {
    **dict.fromkeys(("--cfg", "-c"), ("job", "hydra", "all")),
    **dict.fromkeys(("--info", "-i"), ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")),
}
OWN_FOLDER = ("--config-dir", "-cd", "--config-path", "-cp")
TYPES = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "None": "null"}


def mistakes(arguments: Sequence[str]) -> list[str]:
    """Return an error message for each argument of a line that can't be right, whatever the files of `conf/` say."""
    own_folder = any(argument.split("=")[0] in OWN_FOLDER for argument in arguments)
    searches = "hydra/sweeper=search" in arguments
    found = [*flag_mistakes(arguments)]
    found += [problem for line in overrides_in(arguments) if (problem := mistake_in(line, own_folder, searches))]
    return list(dict.fromkeys(found))


def flag_mistakes(arguments: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the flags of a line."""
    for before, argument, after in zip(["", *arguments], arguments, [*arguments[1:], None], strict=False):
        flag, sign, value = argument.partition("=")
        if not flag.startswith("-") or before in FLAGS_WITH_VALUE:
            continue
        given = value if sign else after
        if flag not in FLAGS:
            yield f"There is no flag `{flag}`.{nearest(flag, FLAGS)}"
        elif flag in FLAGS_WITH_VALUE and not given:
            yield from [] if flag in ("--info", "-i") else [f"`{flag}` needs a value."]
        elif flag in ("--config-dir", "-cd") and given and not Path(given).is_dir():
            yield f"Expected `{flag}` to be followed by a folder of YAML files, found none at {given}."
        elif flag in ("--package", "-p") and given and given.split(".")[0] not in (*tables(), "hydra"):
            yield f"Expected `{flag}` to be followed by a table, got {given!r}.{nearest(given, tables())}"
        elif flag in VALUES_OF_FLAGS and given not in VALUES_OF_FLAGS[flag]:
            yield f"Expected `{flag}` to be followed by one of {', '.join(VALUES_OF_FLAGS[flag])}, got {given!r}."
        elif flag in ("--cfg", "-c") and {"-m", "--multirun"} & set(arguments):
            yield f"`{flag}` prints the configuration of one run: leave out -m, and give each key one value."


def mistake_in(argument: str, own_folder: bool, searches: bool) -> str | None:
    """Return what is wrong with an override, or None.

    Args:
        argument: As typed.
        own_folder: Whether the user has YAML files of their own, which may add choices to groups.
        searches: Whether the line is a search's, which may vary a key within an interval.
    """
    try:
        override = parsed(argument)
    except HydraException:
        return unreadable(argument)
    name = override.key_or_group
    if not name:
        return unreadable(argument)
    if problem := unknown_key(name, argument.partition("=")[2]):
        return problem
    if re.match(r"hydra\b", name):
        return None
    if name in config_groups() and own_folder:
        return None
    if override.is_delete():
        kept = name != "experiment" and not inside_open_table(name)
        return f"`{argument}`: a key can't be removed, only changed." if kept else None
    if name in config_groups():
        return unknown_choice(override)
    if isinstance(override.value(), IntervalSweep) and not searches:
        return (
            f"`{argument}` is for a search, which tries values within an interval: brain-tumor-tl search '{argument}'. "
            f"A sweep runs each of some values: -m {name}=VALUE,VALUE."
        )
    return next(filter(None, (value_mistake(name, value) for value in values_of(override))), None)


def unreadable(argument: str) -> str:
    """Return what is wrong with an argument that is not an override in Hydra's grammar."""
    key, sign, value = argument.partition("=")
    key = key.lstrip("+~")
    if not sign or not key:
        way_out = f" For a folder of images give data.root={argument}." if Path(argument).expanduser().exists() else ""
        known = not sign and key in declared()
        return f"Expected KEY=VALUE, got `{argument}`.{f' Give {key}=VALUE.' if known else way_out}"
    if problem := unknown_key(key, value):
        return problem
    return (
        f"Can't read the value of `{key}`: {value}. A list is [a,b], a table {{a:1,b:2}}; a text with other than "
        f"letters, digits and /-+.$%*@_ stands in quotes within the shell's: \"{key}='TEXT'\"."
    )


def unknown_choice(override: Override) -> str | None:
    """Return an error message if a config group is set to a choice that does not exist, else None."""
    group, known = override.key_or_group, choices_of(override.key_or_group)
    if not known or override.value_type == ValueType.GLOB_CHOICE_SWEEP:
        return None
    wrong = [value for value in values_of(override) if value not in known and not isinstance(value, dict)]
    if not wrong:
        return None
    extra = " Any other network of torchvision: model.name=NAME." if group == "model" else ""
    shown, hint = "null" if wrong[0] is None else repr(wrong[0]), nearest(str(wrong[0]), known)
    return f"`{group}` can't be {shown}.{hint} Expected one of {', '.join(known)}.{extra}"


def values_of(override: Override) -> list[Any]:
    """Return the values that an override gives, without those of an interval."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [value.start, value.end]
    found = list(override.sweep_iterator()) if override.is_sweep_override() else [value]
    return [getattr(each, "text", each) for each in found]


@cache
def schema() -> DictConfig:
    """Return the schema, whose tables are there, to check the types of values by setting them."""
    config = OmegaConf.structured(TrainConfig)
    for table in [*tables(), *(path for path, key in declared().items() if key.open_table)]:
        OmegaConf.update(config, table, {})
    assert isinstance(config, DictConfig)
    return config


def value_mistake(path: str, value: Any) -> str | None:
    """Return an error message if a key or table can't hold a value, else None; `${...}` is left to the composition."""
    if isinstance(value, str) and "${" in value:
        return None
    if path in tables() and not isinstance(value, dict):
        inside = [key for key in declared() if key.rpartition(".")[0] == path]
        first = f" Give {path}.name={value}." if f"{path}.name" in inside else ""
        return f"`{path}` is a table of {', '.join(inside)}, not a value.{first}"
    key = declared().get(path)
    if value == "" and (key is None or key.type_name.startswith("str")):
        return f"`{path}` has no value. Give {path}=VALUE" + (", or null." if key and "None" in key.type_name else ".")
    if key and key.type_name.startswith("str") and isinstance(value, str):
        return violation(key, value)  # no text is of a wrong type, and making the schema takes time
    try:
        OmegaConf.update(schema(), path, value, force_add=inside_open_table(path))
    except OmegaConfBaseException as error:
        return wrong_type(path if path in declared() else str(error.full_key), value)
    return violation(key, OmegaConf.select(schema(), path)) if key else None


def wrong_type(path: str, value: Any = ...) -> str:
    """Return the error message for a value of a wrong type, which may not be known."""
    key = declared().get(path)
    if key is None:
        return unknown_key(path) or f"The value of `{path}` is of a wrong type."
    kinds = [TYPES.get(kind, "a table such as {a:1,b:2}") for kind in key.type_name.split(" | ")]
    got = "" if value is ... else f", got {'null' if value is None else repr(value)}"
    return f"Expected `{path}` to be {' or '.join(kinds)}{got}."


def explain(error: BaseException) -> str:
    """Return what Hydra, OmegaConf or a YAML parser refused, as a sentence with a way out."""
    chain = list(causes(error))
    return next((text for each in chain if (text := explain_one(each))), f"The configuration is refused: {chain[-1]}")


def explain_one(error: BaseException) -> str | None:
    """Return a sentence on an error without those that led to it; None if it is of no kind that users cause."""
    text, key = " ".join(str(error).split()), getattr(error, "full_key", None)
    match error:
        case MissingConfigException():
            return missing_file(error)
        case yaml.YAMLError():
            return f"A YAML file can't be read: {text}."
        case InterpolationKeyError():
            wanted = "".join(re.findall(r"'([^']+)' not found", text))
            return unknown_key(wanted) or f"`{key}` refers to `{wanted}`, which does not exist."
        case MissingMandatoryValue():
            return f"`{key}` has no value. Give {key}=VALUE."
        case OmegaConfBaseException() if key and inside_open_table(key):
            return f"`{key}` can't be given inside a table. Give it alone, {key}=VALUE."
        case OmegaConfBaseException() if key:
            exists = isinstance(error, ValidationError)
            return wrong_type(key) if exists else unknown_key(key) or f"There is no key `{key}`."
    if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '([^']*)'", text):
        return f"`{found[1]}` has several values: -m runs each of them, and KEY=[A,B] is one list."
    if found := re.match(r"Could not delete from config\. '([^']*)' does not exist", text):
        return f"There is no key `{found[1]}` to remove."
    if found := re.match(r"Could not override '([^']*@[^']*)'", text):
        return f"`{found[1]}`: the values of a group go to its own table, {found[1].split('@')[0]}=CHOICE."
    return None


def missing_file(error: MissingConfigException) -> str:
    """Return a sentence on a YAML file that does not exist."""
    if error.missing_cfg_file is None:
        return "There is no folder of YAML files where --config-path says."
    group, _, name = str(error.missing_cfg_file).removesuffix(".yaml").rpartition("/")
    known = error.options or sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    what = f"`{group}` can't be {name!r}." if group else f"There is no configuration `{name}`."
    return f"{what}{nearest(name, known)} Expected one of {', '.join(known)}."
