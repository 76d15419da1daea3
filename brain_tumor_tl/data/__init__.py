"""Data: files become an index, the index a split, the files one decoded array, and the array batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brain_tumor_tl.data.module import TumorData as TumorData

__all__ = ["TumorData"]


def __getattr__(name: str) -> Any:
    """Import the data module on first use, for it brings torch and Lightning."""
    if name == "TumorData":
        from brain_tumor_tl.data.module import TumorData

        return TumorData
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
