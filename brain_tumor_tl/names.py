"""Names: answer a wrong name with the nearest right ones, the same way everywhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, choices: Iterable[str], count: int = 3) -> str:
    """Return ` Did you mean ...?` with the choices most like `name`, or an empty string.

    >>> nearest("max_epoch", ["max_epochs", "seed"])
    ' Did you mean `max_epochs`?'
    """
    found = difflib.get_close_matches(name, list(choices), n=count, cutoff=0.6)
    return f" Did you mean {' or '.join(f'`{match}`' for match in found)}?" if found else ""
