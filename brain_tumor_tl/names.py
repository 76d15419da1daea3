"""Names: answer an unknown name with the most similar known ones, in the same words everywhere."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable

COMPARED = 200  # names that are compared in detail, which takes about 0.05 ms each


def nearest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """Return ` Did you mean ...?` with the choices most similar to `name`, or an empty string if none is.

    >>> nearest("max_epoch", ["max_epochs", "seed"])
    ' Did you mean `max_epochs`?'
    """
    return question(closest(name, choices, count))


def closest(name: str, choices: Iterable[str], count: int = 3) -> list[str]:
    """Return the choices most similar to `name`, the best first; of many choices only those sharing most with it."""
    likely = list(choices)
    if len(likely) > COMPARED:
        pieces = {name[start : start + 3] for start in range(len(name) - 2)}
        likely = heapq.nlargest(COMPARED, likely, key=lambda choice: sum(map(choice.__contains__, pieces)))
    return difflib.get_close_matches(name, likely, n=count, cutoff=0.6)


def question(names: Iterable[str]) -> str:
    """Return ` Did you mean ...?` with some names, or an empty string if there are none."""
    quoted = " or ".join(f"`{name}`" for name in names)
    return f" Did you mean {quoted}?" if quoted else ""
