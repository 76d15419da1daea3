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

from brain_tumor_tl.data.table import classes_or_labels

FLAGS_WITH_VALUE = (
    "--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd",
    "--cfg", "-c", "--package", "-p", "--info", "-i",
)  # fmt: skip
PATHS = (
    "data.root", "data.cache_dir", "data.url", "data.matlab", "data.labels", "data.patients", "model.weights",
    "hydra.run.dir", "hydra.sweep.dir",
)  # fmt: skip
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


def quoted_path(argument: str) -> str:
    """Quote the path in an override such as `data.root=~/archive (1)`, if Hydra's grammar would reject it.

    >>> quoted_path("data.root=~/archive (1)")
    "data.root='~/archive (1)'"
    >>> quoted_path("data.root=/data/mri")
    'data.root=/data/mri'
    """
    key, sign, value = argument.partition("=")
    if not sign or key not in PATHS or value[:1] in ("'", '"'):
        return argument
    try:
        parsed(argument)
    except HydraException:
        return f"{key}={quoted(value)}"
    return argument


def current(argument: str) -> str:
    """Return an override with the current names of its values.

    >>> current("data.fold_by=series,grouped"), current("name=runs")
    ('data.fold_by=series,grouped', 'name=runs')
    """
    key, sign, value = argument.partition("=")
    renewed = re.sub(r"\bruns\b", "series", value) if key.lstrip("+") in RENAMED_IN else value
    if renewed != value:
        note_old_name()
    return f"{key}{sign}{renewed}"


def make_current(config: DictConfig) -> None:
    """Replace old names of values in a composed configuration, and write `data.classes` as a list for each class.

    Raises:
        FileNotFoundError: The classes are the names of folders, and there is no data set.
        ValueError: The classes can't be named.
    """
    classes, root, labels = (OmegaConf.select(config, f"data.{key}") for key in ("classes", "root", "labels"))
    if classes is not None or root is not None:
        OmegaConf.update(config, "data.classes", classes_or_labels(classes, root, labels), merge=False)
    for key in RENAMED_IN:
        if OmegaConf.select(config, key) == "runs":
            note_old_name()
            OmegaConf.update(config, key, "series")


@cache  # once per process, however many jobs it composes
def note_old_name() -> None:
    """Tell the user of an old name."""
    print("The split `runs` is called `series` now; the old name still works.", file=sys.stderr)
