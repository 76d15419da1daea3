"""Keys: the keys of the schema, for help and checks; the answer to an unknown one names the nearest."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

from brain_tumor_tl.cli.config import TrainConfig, config_groups
from brain_tumor_tl.names import closest, nearest, question

# Names that users know from other programs, and what does the same here.
ELSEWHERE = {
    "epochs": "Give trainer.max_epochs=NUMBER.",
    "learning_rate": "Give optimizer.lr=NUMBER.",
    "gpus": "Give trainer.devices=NUMBER.",
    "num_workers": "There are no workers: the images are one array in memory.",
    "fast_dev_run": (
        "For a quick try give trainer.max_epochs=1 trainer.limit_train_batches=2 trainer.limit_test_batches=2."
    ),
}


@dataclass(frozen=True)
class Key:
    """One declared key, for help and checks.

    Attributes:
        path: The full key, such as `data.batch_size`.
        type_name: Its type, as the help shows it.
        rule: `meaning`, `choices` and `bounds` of `option`.
        open_table: Whether it is a dict that takes any key.
    """

    path: str
    type_name: str
    rule: dict[str, Any]
    open_table: bool


@cache
def declared() -> dict[str, Key]:
    """Return every key by its path."""
    return {key.path: key for key in keys_of(TrainConfig)}


@cache
def tables() -> list[str]:
    """Return the tables of keys, such as `data.augment`."""
    return sorted({path.rpartition(".")[0] for path in declared()} - {""})


def keys_of(schema: type, prefix: str = "") -> Iterator[Key]:
    """Yield every key of a schema, depth first, in the order of declaration."""
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        hint, path = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            yield from keys_of(hint, path + ".")
        else:
            name = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
            yield Key(path, name, dict(field.metadata), open_table=name.startswith("dict"))


def inside_open_table(path: str) -> bool:
    """Tell whether a key belongs to a table that takes any key, such as `optimizer.options.momentum`."""
    return any(key.open_table and path.startswith(f"{key.path}.") for key in declared().values())


def unknown_key(path: str, value: str = "VALUE") -> str | None:
    """Return an error message if neither the schema nor a config group has a key, else None.

    Args:
        path: The key as typed, without `+` and `~`.
        value: What it was to be set to.
    """
    groups, leaves = config_groups(), {path: path.rpartition(".")[2] for path in declared()}
    if path in (*leaves, *tables(), *groups) or path.split("@")[0] in groups or re.match(r"hydra\b", path):
        return None
    if inside_open_table(path):
        return None
    table, _, leaf = path.rpartition(".")
    siblings = [leaves[other] for other in leaves if other.rpartition(".")[0] == table]
    hint = nearest(leaf, siblings) or elsewhere(table, leaf, value, siblings) or nearest(path, [*leaves, *groups])
    alike = closest(leaf, set(leaves.values()))
    hint = hint or question(other for other in leaves if leaves[other] in alike)
    choices = f" `{table}` has: {', '.join(siblings)}." if siblings and leaf not in ELSEWHERE else ""
    if not table and leaf not in ELSEWHERE:
        choices = f" There are {', '.join(sorted({other.split('.')[0] for other in leaves} | set(groups)))}."
    return f"There is no key `{path}`.{hint}{choices}"


def elsewhere(table: str, leaf: str, value: str, siblings: Sequence[str]) -> str:
    """Return where a setting is that other programs have under this name, an empty string if it is not known.

    >>> elsewhere("optimizer", "momentum", "0.9", ["name", "lr", "options"])
    ' Further arguments are in its options: optimizer.options.momentum=0.9.'
    """
    if leaf in ELSEWHERE:
        return f" {ELSEWHERE[leaf]}"
    if "options" in siblings:
        return f" Further arguments are in its options: {table}.options.{leaf}={value}."
    return ""
