"""Names: answer a wrong name with the nearest right ones, the same way everywhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """Return ` Did you mean ...?` with the choices most like `name`, or an empty string.

    >>> nearest("max_epoch", ["max_epochs", "seed"])
    ' Did you mean `max_epochs`?'
    """
    return question(closest(name, choices, count))


def closest(name: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """Return the choices most like `name`, the most alike first."""
    return difflib.get_close_matches(name, list(choices), n=count, cutoff=0.6)


def question(names: Iterable[str]) -> str:
    """Return ` Did you mean ...?` with some names, or an empty string where there are none."""
    quoted = " or ".join(f"`{name}`" for name in names)
    return f" Did you mean {quoted}?" if quoted else ""
