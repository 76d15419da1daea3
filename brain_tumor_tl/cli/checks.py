"""Checks: every value of a configuration against its declared range, and against the others."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from brain_tumor_tl.cli.config import Key, keys
from brain_tumor_tl.names import nearest

BOUNDS = {
    "low": ("at least", operator.ge),
    "high": ("at most", operator.le),
    "above": ("greater than", operator.gt),
    "below": ("less than", operator.lt),
}  # how `option` declares a bound: its words, and what must hold


# What the parts of the data follow from.
SPLITTING = ("seed", "data", "data.source", "data.root", "data.split", "data.test_fraction", "data.val_fraction",
             "data.stratify", "data.classes", "data.on_bad_file", "data.fold", "data.folds", "data.fold_by",
             "data.labels", "data.patients", "data.drop_conflicts", "data.shuffle_labels")  # fmt: skip


def violation(key: Key, value: Any) -> str | None:
    """Return what is wrong with a key's value, or None."""
    rule = key.rule
    if value is None and not (key.type_name == "Any" and rule["choices"]):
        return None
    if rule["choices"] and value not in rule["choices"]:
        expected = "one of " + ", ".join(map(str, rule["choices"]))
        hint = nearest(str(value), map(str, rule["choices"]))
        return f"Expected `{key.path}` to be {expected}, got {value!r}.{hint}"
    bounds = [(word, rule[name], holds) for name, (word, holds) in BOUNDS.items() if rule[name] is not None]
    if all(holds(value, bound) for _, bound, holds in bounds):
        return None
    wanted = " and ".join(f"{word} {bound}" for word, bound, _ in bounds)
    return f"Expected `{key.path}` to be {wanted}, got {value}."


def check(config: DictConfig) -> None:
    """Check every value against its declared range, before any data is read.

    Raises:
        ValueError: One sentence for each value that is missing or out of range, all of them at once.
    """
    problems = []
    for key in keys():
        table, _, leaf = key.path.rpartition(".")
        if OmegaConf.is_missing(OmegaConf.select(config, table) if table else config, leaf):
            problems.append(f"`{key.path}` has no value: {key.rule['meaning']}. Give {key.path}=VALUE.")
            continue
        problem = violation(key, OmegaConf.select(config, key.path))
        if problem:
            problems.append(problem)
    if not problems:
        problems = combined_problems(config)
    if problems:
        raise ValueError("\n".join(problems))


def combined_problems(config: DictConfig) -> list[str]:
    """Return what is wrong with values that are each in range but not together."""
    problems = data_problems(config.data)
    problems += weight_problems(config.loss.class_weights, len(config.data.classes))
    problems += epoch_problems(config.trainer)
    problems += device_problems(config.trainer)
    if "/" in config.name or config.name in ("", ".", ".."):
        problems.append(f"Expected `name` to be the name of a folder, got {config.name!r}.")
    if config.method.cache_features is True and not config.method.freeze:
        problems.append(
            "`method.cache_features=true` needs a frozen backbone, for features change while it learns. "
            "Give method=frozen or leave it at auto."
        )
    if config.method.cache_features is True and any(config.data.augment.values()):
        changes = ", ".join(f"data.augment.{key}={value}" for key, value in config.data.augment.items() if value)
        problems.append(
            f"`method.cache_features=true` needs images that stay the same, got {changes}: features would be of one "
            "change of each image for ever. Leave `method.cache_features` at auto, or set the augmentation to 0."
        )
    return problems


def search_problems(config: DictConfig, searched: Sequence[str]) -> list[str]:
    """Return what is wrong with a search.

    Args:
        config: The configuration of the search, without the values of what is searched.
        searched: The keys and groups that it tries values of.
    """
    problems = []
    part, _, name = config.search.metric.partition("/")
    if part == "test":
        problems.append(
            f"Expected `search.metric` of the validation part, got {config.search.metric!r}: what is chosen on the "
            f"test part looks better there than it is. Give search.metric=val/{name or 'accuracy'}."
        )
    elif config.search.metric not in (known := search_metrics(config)):
        problems.append(
            f"Expected `search.metric` to be one of {', '.join(known)}, got {config.search.metric!r}."
            f"{nearest(config.search.metric, known)}"
        )
    if not config.data.val_fraction:
        problems.append(
            "A search needs a validation part: what is chosen on the test part looks better there than it is. "
            "Give data.val_fraction=0.1."
        )
    of_the_split = [key for key in searched if key in SPLITTING]
    if of_the_split:
        problems.append(
            f"Expected trials on the same validation part, but `{'`, `'.join(of_the_split)}` changes it, so that their "
            "figures would not compare. Give one value."
        )
    return problems


def search_metrics(config: DictConfig) -> list[str]:
    """Return the columns of `metrics.csv` that a search may go by."""
    classes = [f"{metric}/{names[0]}" for metric in ("precision", "recall", "f1") for names in config.data.classes]
    return [f"val/{name}" for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss", *classes)]


def data_problems(data: DictConfig) -> list[str]:
    """Return what is wrong with the split, the classes and the phantoms."""
    problems = split_problems(data)
    if data.split in ("random", "grouped", "runs") and data.test_fraction + data.val_fraction >= 1:
        problems.append(
            "Expected `data.test_fraction` and `data.val_fraction` to leave images to train on, got "
            f"{data.test_fraction} + {data.val_fraction}."
        )
    if len(data.classes) < 2:
        problems.append(f"Expected at least two `data.classes`, got {len(data.classes)}.")
    if data.source == "matlab" and data.matlab is None:
        problems.append("`data.matlab` has no value: folder of the .mat files. Give data.matlab=PATH.")
    if data.source == "phantom" and (data.phantoms_per_class < 5 or data.phantom_size < 32):
        problems.append(
            "Expected `data.phantoms_per_class` of at least 5 and `data.phantom_size` of at least 32, got "
            f"{data.phantoms_per_class} and {data.phantom_size}."
        )
    return problems


def split_problems(data: DictConfig) -> list[str]:
    """Return what is wrong with the keys of the split, taken together."""
    problems = []
    if data.split == "kfold" and data.fold >= data.folds:
        problems.append(
            f"Expected `data.fold` from 0 to {data.folds - 1} for data.folds={data.folds}, got {data.fold}."
        )
    if data.split == "kfold" and 1 / data.folds + data.val_fraction >= 1:
        problems.append(
            f"Expected `data.val_fraction` to leave images to train on beside one fold of {data.folds}, got "
            f"{data.val_fraction}."
        )
    if data.split != "kfold" and data.fold > 0:
        problems.append(f"`data.fold={data.fold}` needs data.split=kfold, got data.split={data.split}.")
    by = data.fold_by if data.split == "kfold" else data.split
    if data.find_copies is False and (data.drop_conflicts or by not in ("random", "official")):
        what = "data.drop_conflicts=true" if data.drop_conflicts else f"A split of {by} images"
        problems.append(f"{what} needs to know which images are copies. Give data.find_copies=auto.")
    return problems


def epoch_problems(trainer: DictConfig) -> list[str]:
    """Return what would leave a run without one whole epoch of each part to report."""
    problems = []
    for part in ("train", "val", "test"):
        limit = trainer[f"limit_{part}_batches"]
        whole = isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1
        share = isinstance(limit, float) and 0 < limit <= 1
        if limit is not None and not whole and not share:
            problems.append(
                f"Expected `trainer.limit_{part}_batches` to be null, a number of batches (at least 1) or a "
                f"share of them such as 0.5, got {limit!r}."
            )
    if trainer.max_steps == 0:
        problems.append("Expected `trainer.max_steps` to be -1 or at least 1, got 0.")
    if trainer.check_val_every_n_epoch > trainer.max_epochs:
        problems.append(
            "Expected `trainer.check_val_every_n_epoch` to be at most `trainer.max_epochs`, got "
            f"{trainer.check_val_every_n_epoch} and {trainer.max_epochs}."
        )
    return problems


def device_problems(trainer: DictConfig) -> list[str]:
    """Return what is wrong with `trainer.devices` and `trainer.max_time`, which Lightning would refuse at length."""
    problems = []
    devices = trainer.devices
    numbers = list(devices) if isinstance(devices, ListConfig) else [devices]
    least = 0 if isinstance(devices, ListConfig) else 1
    whole = bool(numbers) and all(type(n) is int and n >= least for n in numbers)
    if devices not in ("auto", -1) and not whole:
        problems.append(
            f"Expected `trainer.devices` to be auto, a number of devices or a list such as [0,2], got {devices}."
        )
    if trainer.max_time is not None and not re.fullmatch(r"\d\d:\d\d:\d\d:\d\d", trainer.max_time):
        problems.append(f"Expected `trainer.max_time` as DD:HH:MM:SS, such as 00:12:00:00, got {trainer.max_time!r}.")
    return problems


def weight_problems(weights: Any, classes: int) -> list[str]:
    """Return what is wrong with `loss.class_weights`."""
    if weights is None or weights == "balanced":
        return []
    if not isinstance(weights, ListConfig) or len(weights) != classes:
        return [f"Expected `loss.class_weights` to be null, balanced or {classes} numbers, got {weights}."]
    if not all(isinstance(weight, int | float) and weight > 0 for weight in weights):
        return [f"Expected every one of `loss.class_weights` to be a positive number, got {weights}."]
    return []
