"""Keys: the keys of the schema, for help and checks; an unknown one is answered with the nearest names."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_type_hints

from brain_tumor_tl.cli.config import TrainConfig, config_groups
from brain_tumor_tl.names import closest, nearest, question


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


def keys(schema: type = TrainConfig, prefix: str = "") -> Iterator[Key]:
    """Yield every key of a schema, depth first, in the order of declaration."""
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        hint, path = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            yield from keys(hint, path + ".")
        else:
            name = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
            yield Key(path, name, dict(field.metadata), open_table=name.startswith("dict"))


def unknown_key(path: str) -> str | None:
    """Return an error message if neither the schema nor a config group has a key, else None.

    Args:
        path: The key as typed, without `+` and `~`.
    """
    groups, known = config_groups(), list(keys())
    leaves = {key.path: key.path.rpartition(".")[2] for key in known}
    tables = {key.path.rpartition(".")[0] for key in known}
    inside_open = any(key.open_table and path.startswith(f"{key.path}.") for key in known)
    if path in (*leaves, *tables, *groups) or path.split("@")[0] in groups or inside_open or re.match(r"hydra\b", path):
        return None
    table, _, leaf = path.rpartition(".")
    siblings = [leaves[other] for other in leaves if other.rpartition(".")[0] == table]
    alike = closest(leaf, set(leaves.values()))
    hint = nearest(leaf, siblings) or nearest(path, [*leaves, *groups])
    hint = hint or question(other for other in leaves if leaves[other] in alike)
    choices = f" `{table}` has: {', '.join(siblings)}." if siblings else ""
    if not table:
        choices = f" There are {', '.join(sorted({other.split('.')[0] for other in leaves} | set(groups)))}."
    return f"There is no key `{path}`.{hint}{choices}"
