"""Naming: a run's folder is named after its settings, and a sweep's after what it varies, not after a position."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

# What `base_name` shows already, and `name` itself.
IN_BASE_NAME = (
    "model", "model.name", "method", "method.name", "seed", "name",
    "data.split", "data.fold", "data.fold_by", "data.shuffle_labels",
)  # fmt: skip
VALUE_LENGTH, NAME_LENGTH = 40, 180  # file names may have 255 bytes


def base_name(settings: Mapping[str, Any]) -> str:
    """Return `<model>-<method>-s<seed>`, and the split unless it is the study's random one.

    Args:
        settings: The run's settings by dotted keys.
    """
    name = f"{settings['model.name']}-{settings['method.name']}-s{settings['seed']}"
    return name + split_suffix(*(settings[f"data.{key}"] for key in ("split", "fold", "fold_by", "shuffle_labels")))


def split_suffix(split: str, fold: int, fold_by: str, shuffle_labels: bool) -> str:
    """Return the end of a base name, which names the split; empty for the study's random split.

    >>> split_suffix("kfold", 2, "series", False)
    '-series-f2'
    """
    split = f"{fold_by}-f{fold}" if split == "kfold" else split
    return ("" if split == "random" else f"-{split}") + ("-shuffled" if shuffle_labels else "")


def run_name(base: str, choices: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Return the name of a run: the base name, then choices and values.

    Args:
        base: The base name, or the user's `name`.
        choices: Config groups and their choices, such as `recipe: onecycle`.
        values: Keys and their values, such as `optimizer.lr: 0.001`.

    >>> run_name("resnet18-frozen-s0", {"recipe": "onecycle", "model": "resnet18"}, {"optimizer.lr": 0.001, "seed": 0})
    'resnet18-frozen-s0-onecycle-lr0.001'
    """
    return join_parts([base, *name_parts(choices, values, IN_BASE_NAME)])


def sweep_name(swept: Sequence[str], choices: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Return the name of a sweep: what it varies, and over what.

    Args:
        swept: The keys and groups to which it gives several values.
        choices: Config groups whose one choice is not the default.
        values: Keys whose one value is not the default.

    >>> sweep_name(["optimizer.lr", "seed"], {"model": "vgg16"}, {"data.split": "grouped"})
    'lr-seed-vgg16-split_grouped'
    """
    return join_parts([*map(label, swept), *name_parts(choices, values)]) or "defaults"


def name_parts(choices: Mapping[str, str], values: Mapping[str, Any], known: Collection[str] = ()) -> list[str]:
    """Return the parts of a name for some choices and values, except those of `known`."""
    labels = {key: label(key) for key in values if key not in known}
    counts = Counter(labels.values())
    chosen = [as_file_name(choice) for group, choice in choices.items() if group not in known]
    return chosen + [setting_part(key if counts[name] > 1 else name, values[key]) for key, name in labels.items()]


def join_parts(parts: Sequence[str]) -> str:
    """Return the parts of a name as one that is no longer than file names may be."""
    name = "-".join(parts)
    return name if len(name) <= NAME_LENGTH else f"{name[:NAME_LENGTH]}-{short_digest(name, 8)}"


def short_digest(text: str, length: int) -> str:
    """Return the first characters of a text's digest, which keep different texts different in names."""
    from brain_tumor_tl.cache import digest_of  # imports NumPy, which `--help` need not wait for

    return digest_of(text)[:length]


def label(key: str) -> str:
    """Return a short label of a key: its last word, or the word before if the last is `name`.

    >>> label("optimizer.options.weight_decay"), label("optimizer.name")
    ('weight_decay', 'optimizer')
    """
    *tables, leaf = key.split(".")
    return tables[-1] if leaf == "name" and tables else leaf


def setting_part(name: str, value: Any) -> str:
    """Return a setting as part of a file name.

    >>> setting_part("lr", 1e-05), setting_part("stratify", True), setting_part("weights", None)
    ('lr1e-05', 'stratify_true', 'weights_null')
    """
    if value is None or isinstance(value, bool):
        return f"{name}_{'null' if value is None else str(value).lower()}"
    return f"{name}{value}" if isinstance(value, int | float) else f"{name}_{as_file_name(value)}"


def as_file_name(value: Any) -> str:
    """Return a value in characters that are safe in file names; a value that had to be changed ends in a digest.

    >>> as_file_name("IMAGENET1K_V1")
    'IMAGENET1K_V1'
    >>> as_file_name("/data/my images")
    'my_images-0fb122'
    """
    text = str(value)
    last = text.rstrip("/").rsplit("/", 1)[-1] if isinstance(value, str) else text
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", last).strip(".")[:VALUE_LENGTH]
    return plain if plain == text else f"{plain}-{short_digest(text, 6)}".lstrip("-")
