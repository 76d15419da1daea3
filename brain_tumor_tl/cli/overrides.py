"""Overrides: `KEY=VALUE` in Hydra's grammar: found on a command line, brought up to date, quoted and parsed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf

from brain_tumor_tl.cli.keys import inside_open_table, keys

FLAGS_WITH_VALUE = (
    "--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd",
    "--cfg", "-c", "--package", "-p", "--info", "-i", "--experimental-rerun",
)  # fmt: skip
FOLDERS_OF_HYDRA = ("hydra.run.dir", "hydra.sweep.dir")
CLASSES = "classes"  # where the cache of a configuration keeps the classes that were given and those found for them
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
    return path in FOLDERS_OF_HYDRA or any(
        key.path == path and key.type_name.startswith("str") and not key.rule["choices"] for key in keys()
    )


def is_readable(argument: str) -> bool:
    """Tell whether an argument is an override in Hydra's grammar."""
    try:
        parsed(argument)
    except HydraException:
        return False
    return True


def current(argument: str) -> str:
    """Return an override with the current names of its values, and with `+` where Hydra needs it and nowhere else.

    >>> current("data.fold_by=series,grouped"), current("+seed=1"), current("optimizer.options.momentum=0.9")
    ('data.fold_by=series,grouped', 'seed=1', '++optimizer.options.momentum=0.9')
    """
    key, sign, value = argument.partition("=")
    name = key.lstrip("+")
    if inside_open_table(name):
        key = f"++{name}"
    elif any(other.path == name for other in keys()):
        key = name
    renewed = re.sub(r"\bruns\b", "series", value) if name in RENAMED_IN else value
    if renewed != value:
        note_old_name()
    return f"{key}{sign}{renewed}"


def as_given(config: DictConfig) -> dict[str, Any]:
    """Return the classes as they were, as `given`, if `make_current` wrote others for them; names tell the former."""
    known = OmegaConf.get_cache(config)[CLASSES]
    return {"given": known["given"]} if known and OmegaConf.select(config, "data.classes") == known["found"] else {}


def make_current(config: DictConfig) -> None:
    """Replace old names of values in a composed configuration, and write `data.classes` as a list for each class.

    Raises:
        FileNotFoundError: The classes are the names of folders, and there is no data set.
        ValueError: The classes can't be named.
    """
    from brain_tumor_tl.data.table import classes_or_labels  # imports NumPy and Pillow

    classes, root, labels = (OmegaConf.select(config, f"data.{key}") for key in ("classes", "root", "labels"))
    if classes is not None or root is not None:
        found = classes_or_labels(classes, root, labels)
        plain = OmegaConf.to_container(classes) if isinstance(classes, ListConfig) else classes
        OmegaConf.get_cache(config)[CLASSES] |= {"given": plain, **as_given(config), "found": found}
        OmegaConf.update(config, "data.classes", found, merge=False)
    for key in RENAMED_IN:
        if OmegaConf.select(config, key) == "runs":
            note_old_name()
            OmegaConf.update(config, key, "series")


@cache  # once per process, however many jobs it composes
def note_old_name() -> None:
    """Tell the user of an old name."""
    print("The split `runs` is called `series` now; the old name still works.", file=sys.stderr)
