"""Naming: a job's folder is named after what the job is, never after its place in the sweep."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from brain_tumor_tl.cache import digest_of

# What the usual name tells already (`<model>-<method>-s<seed>` and the split), and `name` itself.
TOLD = (
    "model", "model.name", "method", "method.name", "seed", "name",
    "data.split", "data.fold", "data.fold_by", "data.shuffle_labels",
)  # fmt: skip
VALUE_LENGTH, NAME_LENGTH = 40, 180  # a file name may have 255 bytes


def job_name(base: str, choices: Mapping[str, str], values: Mapping[str, Any]) -> str:
    """Return the name of a job: the base, and whatever else is swept.

    Args:
        base: `<model>-<method>-s<seed>`, or a name that the user gave.
        choices: Swept config groups and what each is set to, such as `recipe: onecycle`.
        values: Swept keys and their values, such as `optimizer.lr: 0.001`.

    >>> job_name("resnet18-frozen-s0", {"recipe": "onecycle", "model": "resnet18"}, {"optimizer.lr": 0.001, "seed": 0})
    'resnet18-frozen-s0-onecycle-lr0.001'
    """
    labels = {key: label(key) for key in values if key not in TOLD}
    often = Counter(labels.values())
    parts = [base]
    parts += [safe(choice) for group, choice in choices.items() if group not in TOLD]
    parts += [part(key if often[name] > 1 else name, values[key]) for key, name in labels.items()]
    whole = "-".join(parts)
    return whole if len(whole) <= NAME_LENGTH else f"{whole[:NAME_LENGTH]}-{digest_of(whole)[:8]}"


def label(key: str) -> str:
    """Return the word that stands for a key: its last one, or its table's where the last is `name`.

    >>> label("optimizer.options.weight_decay"), label("optimizer.name")
    ('weight_decay', 'optimizer')
    """
    *tables, leaf = key.split(".")
    return tables[-1] if leaf == "name" and tables else leaf


def part(name: str, value: Any) -> str:
    """Return a setting as part of a file name.

    >>> part("lr", 1e-05), part("stratify", True), part("weights", None)
    ('lr1e-05', 'stratify_true', 'weights_null')
    """
    if value is None or isinstance(value, bool):
        return f"{name}_{'null' if value is None else str(value).lower()}"
    return f"{name}{value}" if isinstance(value, int | float) else f"{name}_{safe(value)}"


def safe(value: Any) -> str:
    """Return a value with file names' usual letters alone; a digest keeps apart what would then look the same.

    >>> safe("IMAGENET1K_V1")
    'IMAGENET1K_V1'
    >>> safe("/data/my images")
    'my_images-0fb122'
    """
    text = str(value)
    last = text.rstrip("/").rsplit("/", 1)[-1] if isinstance(value, str) else text
    plain = re.sub(r"[^A-Za-z0-9_.+-]+", "_", last).strip(".")[:VALUE_LENGTH]
    return plain if plain == text else f"{plain}-{digest_of(text)[:6]}".lstrip("-")
