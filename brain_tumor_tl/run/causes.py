"""Causes: what led to an error."""

from __future__ import annotations

from collections.abc import Iterator


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that led to it, each once: an error raised again may be among its own causes.

    >>> [str(each) for each in causes(ValueError("a"))]
    ['a']
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
