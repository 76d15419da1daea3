"""Checks: every value of a configuration against its declared range, and against the others."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf

from brain_tumor_tl.cli.heads import head_problems, whole_backbones
from brain_tumor_tl.cli.keys import Key, declared
from brain_tumor_tl.cli.overrides import replace_old_names
from brain_tumor_tl.names import nearest

BOUNDS = {
    "low": ("at least", operator.ge),
    "high": ("at most", operator.le),
    "above": ("greater than", operator.gt),
    "below": ("less than", operator.lt),
}  # the bounds that `option` may declare: their words, and what must hold

KEEPS_THE_SPLIT = (  # unlike all else in `data`
    "data.image_size", "data.batch_size", "data.normalize", "data.augment", "data.hierarchy",
)  # fmt: skip
ON_TEST = "settings that are chosen on the test split look better on it than they are"


def checked_settings(config: DictConfig) -> dict[str, Any]:
    """Check a configuration before any image is read; return its settings as plain values, the classes as lists.

    The configuration keeps the classes as the user gave them, which is what names tell.

    Raises:
        FileNotFoundError: The classes are the names of folders, and there is no data set.
        ValueError: One sentence for each value that is missing or wrong, all of them at once.
    """
    replace_old_names(config)
    problems = [problem for key in declared().values() if (problem := value_problem(key, config))]
    if not problems:
        classes = named_classes(config.data)
        problems = list(combined_problems(config, classes))
    if problems:
        raise ValueError("\n".join(problems))
    settings = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    settings["data"]["classes"] = classes
    settings["head"]["backbones"] = whole_backbones(settings["head"]["backbones"])
    return settings


def named_classes(data: DictConfig) -> list[list[str]]:
    """Return each class's name, followed by other names for it, as given or else as the data set has them.

    Raises:
        FileNotFoundError: The classes are the names of folders, and there is no data set.
        ValueError: The classes can't be named.
    """
    from brain_tumor_tl.data.table import classes_or_labels  # imports NumPy and Pillow

    given = OmegaConf.to_container(data.classes) if isinstance(data.classes, ListConfig) else data.classes
    if given is not None and not isinstance(given, list):
        raise ValueError(f"Expected `data.classes` to be null or a list such as [cat,dog], got {given!r}.")
    return classes_or_labels(given, data.root, data.labels)


def value_problem(key: Key, config: DictConfig) -> str | None:
    """Return what is wrong with a key's value in a configuration, or None."""
    table, _, leaf = key.path.rpartition(".")
    if OmegaConf.is_missing(OmegaConf.select(config, table) if table else config, leaf):
        return f"`{key.path}` has no value: {key.rule['meaning']}. Give {key.path}=VALUE."
    return violation(key, OmegaConf.select(config, key.path))


def violation(key: Key, value: Any) -> str | None:
    """Return what is wrong with a value of a key, or None."""
    choices = key.rule["choices"]
    if value is None and not (key.type_name == "Any" and choices):
        return None
    if choices and value not in choices:
        hint = nearest(str(value), map(str, choices))
        return f"Expected `{key.path}` to be one of {', '.join(map(str, choices))}, got {value!r}.{hint}"
    bounds = [(*BOUNDS[name], bound) for name, bound in key.rule["bounds"].items()]
    if all(holds(value, bound) for _, holds, bound in bounds):
        return None
    return f"Expected `{key.path}` to be {' and '.join(f'{word} {bound}' for word, _, bound in bounds)}, got {value}."


def combined_problems(config: DictConfig, classes: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield what is wrong with values that are each in range but do not fit together."""
    if len(classes) < 2:
        yield f"Expected at least two `data.classes`, got {len(classes)}."
    yield from data_problems(config.data, [names[0] for names in classes])
    yield from split_problems(config.data)
    yield from weight_problems(config.loss.class_weights, len(classes))
    yield from factor_problems(config.optimizer.backbone_lr_factor)
    yield from trainer_problems(config.trainer)
    yield from head_problems(config)
    if config.trainer.patience is not None and not config.data.val_fraction:
        yield (
            "`trainer.patience` needs a validation split: a run that stops when it is best on the test split looks "
            "better than it is. Give data.val_fraction=0.1."
        )
    if "/" in config.name or config.name in ("", ".", ".."):
        yield f"Expected `name` to be the name of a folder, got {config.name!r}."
    yield from method_problems(config.method, config.data.augment)


def method_problems(method: DictConfig, augment: DictConfig) -> Iterator[str]:
    """Yield what is wrong with a method, without knowing the network."""
    place, stages = method.train_from, method.stages
    if place is not None and (isinstance(place, bool) or not isinstance(place, str | float | int)):
        yield f"Expected `method.train_from` to be the name of a module or a share of the layers, got {place!r}."
    if stages is not None and not are_stages(stages):
        yield (
            "Expected `method.stages` to be a list of places, each with a number of epochs, "
            f"[[head, 3], [layer4, 5], [layer3, null]], got {stages}."
        )
    if place is not None and stages is not None:
        yield "Expected either `method.train_from` or `method.stages`, got both: the stages say where to train from."
    if not method.freeze and (place is not None or stages is not None):
        yield "`method.train_from` and `method.stages` need method.freeze=true, as method=partial and gradual have it."
    must_cache = "`method.cache_features=true` needs"
    changes = ", ".join(f"data.augment.{key!s}={value}" for key, value in augment.items() if value)
    if method.cache_features is True and not method.freeze:
        yield f"{must_cache} a frozen backbone, or the features change. Give method=frozen or leave it at auto."
    if method.cache_features is True and changes and method.views == 1:
        yield (
            f"{must_cache} images that stay the same, got {changes}. Set these to 0, leave it at auto, or give "
            "method.views=8 for as many fixed variants."
        )
    if method.views > 1 and (augment.mixup or augment.cutmix):
        yield (
            f"`method.views={method.views}` keeps the output for single images, but data.augment.mixup and cutmix mix "
            "them: set both to 0, or give method.views=1."
        )
    if method.views > 1 and not (changes and method.freeze and method.cache_features is not False):
        yield (
            f"`method.views={method.views}` needs a frozen part whose output is kept, and variants: method=partial or "
            "frozen, and some data.augment."
        )


def are_stages(stages: Any) -> bool:
    """Tell whether a value is a list of pairs of a place and its epochs, None in the last for all that are left."""
    if not isinstance(stages, ListConfig) or not stages:
        return False
    if not all(isinstance(pair, ListConfig) and len(pair) == 2 for pair in stages):
        return False
    *first, last = [epochs for _, epochs in stages]
    return all(isinstance(n, int) and n > 0 for n in first) and (last is None or (isinstance(last, int) and last > 0))


def search_problems(config: DictConfig, classes: Sequence[Sequence[str]], searched: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with a search.

    Args:
        config: The configuration of the search, without the values of what is searched.
        classes: Each class's name, followed by other names for it.
        searched: The keys and groups whose values it varies.
    """
    metric, known = config.search.metric, search_metrics(classes)
    split_name, _, name = metric.partition("/")
    if split_name == "test":
        better = f"search.metric=val/{name or 'accuracy'}"
        yield f"Expected `search.metric` of the validation split, got {metric!r}: {ON_TEST}. Give {better}."
    elif metric not in known:
        yield f"Expected `search.metric` to be one of {', '.join(known)}, got {metric!r}.{nearest(metric, known)}"
    if not config.data.val_fraction:
        yield f"A search needs a validation split: {ON_TEST}. Give data.val_fraction=0.1."
    if varied := [key for key in searched if changes_split(key)]:
        names = "`, `".join(varied)
        yield f"Expected all trials to have one validation split, but `{names}` changes it. Give one value."


def search_metrics(classes: Sequence[Sequence[str]]) -> list[str]:
    """Return the columns of `metrics.csv` that a search can optimize."""
    of_classes = [f"{metric}/{names[0]}" for metric in ("precision", "recall", "f1") for names in classes]
    return [f"val/{name}" for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss", *of_classes)]


def changes_split(key: str) -> bool:
    """Tell whether the split of the images depends on a key or group.

    >>> changes_split("data.fold"), changes_split("data.augment.flip"), changes_split("optimizer.lr")
    (True, False, False)
    """
    return key in ("seed", "data") or (key.startswith("data.") and not key.startswith(KEEPS_THE_SPLIT))


def data_problems(data: DictConfig, classes: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with the source of the images and the hierarchy of their classes."""
    from brain_tumor_tl.data.hierarchy import hierarchy_problem
    from brain_tumor_tl.data.volumes import chosen_slices  # imports NumPy

    try:
        chosen_slices(data.slices, 1)
    except ValueError as error:
        yield str(error)
    hierarchy = OmegaConf.to_container(data.hierarchy) if OmegaConf.is_config(data.hierarchy) else data.hierarchy
    if hierarchy is not None and (problem := hierarchy_problem(classes, hierarchy)):
        yield f"Expected `data.hierarchy` {problem}."
    number, size = data.phantoms_per_class, data.phantom_size
    if data.source == "matlab" and data.matlab is None:
        yield "`data.matlab` has no value: folder of the .mat files. Give data.matlab=PATH."
    raw = cast("dict[str, Any]", OmegaConf.to_container(data, resolve=False))
    if data.source == "kaggle" and "data.cache_dir" not in raw["root"] and not Path(data.root).expanduser().exists():
        yield f"There is no folder {data.root}. Leave out data.root to download the study's images, or correct it."
    if data.source == "phantom" and (number < 5 or size < 32):
        least = "`data.phantoms_per_class` of at least 5 and `data.phantom_size` of at least 32"
        yield f"Expected {least}, got {number} and {size}."


def split_problems(data: DictConfig) -> Iterator[str]:
    """Yield what is wrong with the keys of the split, taken together."""
    val, to_train = data.val_fraction, "to leave images to train on"
    if data.split == "kfold":
        if data.fold >= data.folds:
            yield f"Expected `data.fold` from 0 to {data.folds - 1} for data.folds={data.folds}, got {data.fold}."
        if 1 / data.folds + val >= 1:
            yield f"Expected `data.val_fraction` {to_train} beside one fold of {data.folds}, got {val}."
    elif data.fold > 0:
        yield f"`data.fold={data.fold}` needs data.split=kfold, got data.split={data.split}."
    elif not data.split.startswith("official") and data.test_fraction + val >= 1:
        yield f"Expected `data.test_fraction` and `data.val_fraction` {to_train}, got {data.test_fraction} + {val}."
    by = data.fold_by if data.split == "kfold" else data.split
    if by == "patients" and data.patients is None:
        yield "A split by patients needs to know them, got data.patients=null. Give data.patients=auto or a CSV file."
    if by != "patients" and data.unknown_patients != "group":
        yield f"`data.unknown_patients={data.unknown_patients}` needs data.split=patients, got data.split={data.split}."
    if data.find_copies is False and (data.drop_conflicts or by not in ("random", "official")):
        what = "data.drop_conflicts=true" if data.drop_conflicts else f"A split of {by} images"
        yield f"{what} needs to know which images are copies. Give data.find_copies=auto."


def trainer_problems(trainer: DictConfig) -> Iterator[str]:
    """Yield what Lightning would reject at length, and what would leave a run without a complete epoch to report."""
    for name in ("train", "val", "test"):
        limit = trainer[f"limit_{name}_batches"]
        whole, fraction = type(limit) is int and limit >= 1, isinstance(limit, float) and 0 < limit <= 1
        if limit is not None and not whole and not fraction:
            kinds = "null, a number of batches (at least 1) or a fraction of them such as 0.5"
            yield f"Expected `trainer.limit_{name}_batches` to be {kinds}, got {limit!r}."
    if trainer.max_steps == 0:
        yield "Expected `trainer.max_steps` to be -1 or at least 1, got 0."
    if (every := trainer.check_val_every_n_epoch) > trainer.max_epochs:
        most = f"`trainer.max_epochs`, got {every} and {trainer.max_epochs}"
        yield f"Expected `trainer.check_val_every_n_epoch` to be at most {most}."
    devices = trainer.devices
    several = isinstance(devices, ListConfig)
    numbers, least = (list(devices), 0) if several else ([devices], 1)
    if devices not in ("auto", -1) and not (numbers and all(type(n) is int and n >= least for n in numbers)):
        yield f"Expected `trainer.devices` to be auto, a number of devices or a list such as [0,2], got {devices}."
    if any(kind in trainer.strategy for kind in ("spawn", "fork", "notebook")):
        yield (
            f"Expected `trainer.strategy` to start its processes as programs of their own, got {trainer.strategy}, "
            "whose copies of this process can't write a run's folder. Give trainer.strategy=ddp."
        )
    if trainer.max_time is not None and not re.fullmatch(r"\d\d:\d\d:\d\d:\d\d", trainer.max_time):
        yield f"Expected `trainer.max_time` as DD:HH:MM:SS, such as 00:12:00:00, got {trainer.max_time!r}."


def factor_problems(factors: Any) -> Iterator[str]:
    """Yield what is wrong with `optimizer.backbone_lr_factor`."""
    values = list(factors.values()) if isinstance(factors, DictConfig) else [factors]
    if not values or not all(type(value) in (int, float) and 0 < value < math.inf for value in values):
        yield (
            "Expected `optimizer.backbone_lr_factor` to be a positive number, or numbers by modules of the backbone "
            f"such as {{layer1: 0.1, layer4: 0.3}}, got {factors}. To train the head alone give method=frozen."
        )


def weight_problems(weights: Any, classes: int) -> Iterator[str]:
    """Yield what is wrong with `loss.class_weights`."""
    if weights is None or weights == "balanced":
        return
    if not isinstance(weights, ListConfig) or len(weights) != classes:
        yield f"Expected `loss.class_weights` to be null, balanced or {classes} numbers, got {weights}."
    elif not all(type(weight) in (int, float) and 0 < weight < math.inf for weight in weights):
        yield f"Expected every one of `loss.class_weights` to be a positive number, got {weights}."
