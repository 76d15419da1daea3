"""Heads: the keys of `head.`, what can be wrong with them, and the further backbones that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from omegaconf import DictConfig, OmegaConf

from brain_tumor_tl.cli.option import option
from brain_tumor_tl.names import nearest

# The hyperparameters of a head that scikit-learn fits, none of one that learns by gradients.
HEADS = {
    "linear": (),
    "mlp": (),
    "logistic": ("C",),
    "lda": ("shrinkage",),
    "svm": ("C", "gamma"),
    "knn": ("neighbors",),
}
WEIGHTED = ("linear", "mlp", "logistic", "svm")  # heads that know weights of classes
BACKBONE: dict[str, Any] = {"name": None, "weights": "IMAGENET1K_V1", "options": {}}  # the keys of a further backbone


@dataclass
class HeadConfig:
    """What follows the features."""

    name: str = option(
        "`linear` or `mlp`, trained by gradients, or one that scikit-learn fits on a frozen backbone's features",
        choices=tuple(HEADS),
    )
    hidden: int = option("hidden units of `mlp`", low=1)
    dropout: float = option("fraction of the hidden units of `mlp` that a training step leaves out", low=0, below=1)
    grid: dict[str, Any] = option(
        "values of each hyperparameter of a fitted head, of which cross-validation chooses (head.grid.C=[1,10])"
    )
    folds: int = option("folds of that cross-validation, which divides no group that the split keeps together", low=2)
    backbones: Any = option(
        "further backbones whose features a fitted head takes too: [vgg16], or [{name: vgg16, weights: FILE}]"
    )


def head_problems(config: DictConfig) -> Iterator[str]:
    """Yield what is wrong with the head, alone and with the other settings."""
    head = config.head
    yield from backbone_problems(head)
    if head.grid.keys() ^ set(HEADS[head.name]):
        expected = f"values of {' and '.join(HEADS[head.name])}" if HEADS[head.name] else "to be empty"
        yield f"Expected `head.grid` of head={head.name} {expected}, got {list(head.grid) or 'none'}."
    elif HEADS[head.name]:
        for key, values in head.grid.items():
            yield from value_problems(head.name, str(key), values)
        yield from fit_problems(config)


def fit_problems(config: DictConfig) -> Iterator[str]:
    """Yield what doesn't fit a head that is fitted once, on features that stay the same."""
    name, method = config.head.name, config.method
    fitted = f"head={name} is fitted on features that stay the same"
    if not method.freeze or method.get("train_from") is not None or method.get("stages") is not None:
        yield f"{fitted}, got method={method.name}. Give method=frozen, or head=linear or mlp."
    elif method.cache_features is False:
        yield f"{fitted} and are kept, got method.cache_features=false. Leave it at auto."
    if changes := ", ".join(f"data.augment.{key}={value}" for key, value in config.data.augment.items() if value):
        yield f"{fitted}, got {changes}. Set these to 0, or give head=linear or mlp."
    for key in ("loss.label_smoothing", "trainer.limit_train_batches"):
        if value := OmegaConf.select(config, key):
            neutral = "null" if key.startswith("trainer") else "0"
            yield f"`{key}={value}` has no meaning for head={name}. Give {key}={neutral}, or head=linear or mlp."
    if config.loss.class_weights is not None and name not in WEIGHTED:
        yield (
            f"head={name} knows no weights of classes, got loss.class_weights={config.loss.class_weights}. Give "
            f"loss.class_weights=null, or one of head={', '.join(WEIGHTED)}."
        )
    if find_spec("sklearn") is None:
        yield f"head={name} is fitted by scikit-learn, which is missing: pip install 'brain_tumor_tl[heads]'."


def value_problems(head: str, key: str, values: Any) -> Iterator[str]:
    """Yield what is wrong with the values of a hyperparameter."""
    given = OmegaConf.to_container(values) if OmegaConf.is_list(values) else [values]
    assert isinstance(given, list)
    if not given:
        yield f"Expected at least one value of `head.grid.{key}` for head={head}, got none."
    for value in given:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        match key:
            case "neighbors":
                right, what = number and value == int(value) >= 1, "a number of images, at least 1"
            case "shrinkage":
                right, what = value == "auto" or (number and 0 <= value <= 1), "auto or a number from 0 to 1"
            case _:
                right, what = number and value > 0, "a number above 0"
        if not right:
            yield f"Expected each value of `head.grid.{key}` to be {what}, got {value!r}."


def backbone_problems(head: DictConfig) -> Iterator[str]:
    """Yield what is wrong with the further backbones, without knowing the networks."""
    given = head.backbones
    if not OmegaConf.is_list(given):
        yield f"Expected `head.backbones` to be a list such as [vgg16], got {given!r}."
        return
    if given and not HEADS[head.name]:
        yield (
            f"head={head.name} takes the features of one backbone, got head.backbones={given}. Give one of "
            f"head={', '.join(name for name, keys in HEADS.items() if keys)}."
        )
    for entry in given:
        keys = set(entry) if isinstance(entry, DictConfig) else {"name"}
        if isinstance(entry, str) or (isinstance(entry, DictConfig) and keys <= set(BACKBONE) and "name" in keys):
            continue
        hint = nearest(str(next(iter(keys - set(BACKBONE)), "")), list(BACKBONE)) if keys - set(BACKBONE) else ""
        yield f"Expected each of `head.backbones` as a name or as {{name: vgg16, weights: FILE}}, got {entry}.{hint}"


def whole_backbones(given: list[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return further backbones with all their keys.

    >>> whole_backbones(["vgg16"])
    [{'name': 'vgg16', 'weights': 'IMAGENET1K_V1', 'options': {}}]
    """
    return [{**BACKBONE, **({"name": entry} if isinstance(entry, str) else entry)} for entry in given]
