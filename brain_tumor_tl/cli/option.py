"""Option: how one key of the configuration is declared."""

from __future__ import annotations

import dataclasses
from typing import Any

from omegaconf import MISSING

AUTO = ("auto", True, False)


def option(meaning: str, *, choices: tuple[Any, ...] = (), **bounds: float) -> Any:
    """Declare one key: its meaning for `--help` and the values it may take.

    Args:
        meaning: One sentence without a full stop.
        choices: The only values allowed; empty for any.
        bounds: `low` and `high`, the least and greatest value allowed; `above` and `below`, which exclude the bound.
    """
    return dataclasses.field(default=MISSING, metadata={"meaning": meaning, "choices": choices, "bounds": bounds})
