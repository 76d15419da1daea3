"""Overrides: `KEY=VALUE` in Hydra's grammar: found on a command line, brought up to date, quoted and parsed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import cache
from typing import cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

from brain_tumor_tl.cli.keys import declared, inside_open_table

FLAGS_WITH_VALUE = (
    "--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd",
    "--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun",
)  # fmt: skip
FOLDERS_OF_HYDRA = ("hydra.run.dir", "hydra.sweep.dir")
RENAMED_IN = ("data.split", "data.fold_by")  # keys that still accept the value `runs`, which is called `series` now


def overrides_in(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that are overrides rather than flags or values of flags."""
    return [
        argument
        for before, argument in zip(["", *arguments], arguments, strict=False)
        if not argument.startswith("-") and before not in FLAGS_WITH_VALUE
    ]


def parsed(line: str) -> Override:
    """Return an override, parsed.

    Raises:
        hydra.errors.HydraException: It is not in Hydra's grammar.
    """
    return OverridesParser.create().parse_override(line)


def unresolved(overrides: ListConfig) -> list[str]:
    """Return overrides as typed; iterating over the list itself would resolve `${...}`."""
    return cast("list[str]", OmegaConf.to_container(overrides, resolve=False))


def quoted(text: str) -> str:
    """Return a text as a string literal of Hydra's grammar.

    In it a backslash escapes a quote and, before a quote, another backslash; `$` begins an interpolation.
    """
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"'{escaped}'"


def quoted_text(argument: str, several: bool = False) -> str:
    """Quote the text in an override such as `name=my run (1)`, if Hydra's grammar would reject it.

    Args:
        argument: The override as typed.
        several: Whether a comma separates values, as with -m.

    >>> quoted_text("data.root=~/archive (1)")
    "data.root='~/archive (1)'"
    >>> quoted_text("data.root=/data/mri (1),/data/mri", several=True)
    "data.root='/data/mri (1)',/data/mri"
    """
    key, sign, value = argument.partition("=")
    if not sign or not holds_text(key.lstrip("+")) or is_readable(argument) or value[:1] in ("'", '"'):
        return argument
    pieces = value.split(",") if several else [value]
    return f"{key}={','.join(piece if is_readable(f'{key}={piece}') else quoted(piece) for piece in pieces)}"


def holds_text(path: str) -> bool:
    """Tell whether a key's value is any text, such as a path or a name."""
    key = declared().get(path)
    return path in FOLDERS_OF_HYDRA or bool(key and key.type_name.startswith("str") and not key.rule["choices"])


def is_readable(argument: str) -> bool:
    """Tell whether an argument is an override in Hydra's grammar."""
    try:
        parsed(argument)
    except HydraException:
        return False
    return True


def upgraded(argument: str) -> str:
    """Return an override with the current names of its values.

    >>> upgraded("data.fold_by=series,grouped")
    'data.fold_by=series,grouped'
    """
    key, sign, value = argument.partition("=")
    renewed = re.sub(r"\bruns\b", "series", value) if key.lstrip("+") in RENAMED_IN else value
    if renewed != value:
        note_old_name()
    return f"{key}{sign}{renewed}"


def as_hydra_takes_it(argument: str) -> str:
    """Return an override with `+` where Hydra needs it and nowhere else.

    >>> as_hydra_takes_it("+seed=1"), as_hydra_takes_it("optimizer.options.momentum=0.9")
    ('seed=1', '++optimizer.options.momentum=0.9')
    """
    key, sign, value = argument.partition("=")
    name = key.lstrip("+")
    if inside_open_table(name):
        return f"++{name}{sign}{value}"
    return f"{name}{sign}{value}" if name in declared() else argument


def replace_old_names(config: DictConfig) -> None:
    """Replace old names of values in a composed configuration, as from a YAML file."""
    for key in RENAMED_IN:
        if OmegaConf.select(config, key) == "runs":
            note_old_name()
            OmegaConf.update(config, key, "series")


@cache  # once per process, however many jobs it composes
def note_old_name() -> None:
    """Tell the user of an old name."""
    print("The split `runs` is called `series` now; the old name still works.", file=sys.stderr)
