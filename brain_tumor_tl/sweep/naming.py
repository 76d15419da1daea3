"""Naming: a job's folder is named after its settings, not after its position in the sweep."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from brain_tumor_tl.cache import digest_of

# What the base name (`<model>-<method>-s<seed>` and the split) shows already, and `name` itself.
IN_BASE_NAME = (
    "model", "model.name", "method", "method.name", "seed", "name",
    "data.split", "data.fold", "data.fold_by", "data.shuffle_labels",
)  # fmt: skip
VALUE_LENGTH, NAME_LENGTH = 40, 180  # file names may have 255 bytes


def job_name(base: str, choices: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Return the name of a job: the base name and everything else that is swept.

    Args:
        base: `<model>-<method>-s<seed>`, or the user's `name`.
        choices: Swept config groups and their choices, such as `recipe: onecycle`.
        values: Swept keys and their values, such as `optimizer.lr: 0.001`.

    >>> job_name("resnet18-frozen-s0", {"recipe": "onecycle", "model": "resnet18"}, {"optimizer.lr": 0.001, "seed": 0})
    'resnet18-frozen-s0-onecycle-lr0.001'
    """
    labels = {key: label(key) for key in values if key not in IN_BASE_NAME}
    counts = Counter(labels.values())
    words = [base, *(safe(choice) for group, choice in choices.items() if group not in IN_BASE_NAME)]
    words += [setting(key if counts[name] > 1 else name, values[key]) for key, name in labels.items()]
    name = "-".join(words)
    return name if len(name) <= NAME_LENGTH else f"{name[:NAME_LENGTH]}-{digest_of(name)[:8]}"


def label(key: str) -> str:
    """Return a short label of a key: its last word, or the word before if the last is `name`.

    >>> label("optimizer.options.weight_decay"), label("optimizer.name")
    ('weight_decay', 'optimizer')
    """
    *tables, leaf = key.split(".")
    return tables[-1] if leaf == "name" and tables else leaf


def setting(name: str, value: Any) -> str:
    """Return a setting as part of a file name.

    >>> setting("lr", 1e-05), setting("stratify", True), setting("weights", None)
    ('lr1e-05', 'stratify_true', 'weights_null')
    """
    if value is None or isinstance(value, bool):
        return f"{name}_{'null' if value is None else str(value).lower()}"
    return f"{name}{value}" if isinstance(value, int | float) else f"{name}_{safe(value)}"


def safe(value: Any) -> str:
    """Return a value in characters that are safe in file names; a digest marks a value that had to be changed.

    >>> safe("IMAGENET1K_V1")
    'IMAGENET1K_V1'
    >>> safe("/data/my images")
    'my_images-0fb122'
    """
    text = str(value)
    last = text.rstrip("/").rsplit("/", 1)[-1] if isinstance(value, str) else text
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", last).strip(".")[:VALUE_LENGTH]
    return plain if plain == text else f"{plain}-{digest_of(text)[:6]}".lstrip("-")
