"""Reader: every file of an index read in parallel, and why those that can't be read can't."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from PIL import Image
from rich import get_console
from rich.progress import track

from brain_tumor_tl.data.formats import reason_of
from brain_tumor_tl.data.index import Index

CHUNK = 8  # files that a thread takes at a time, since a task for each file takes longer

Result = TypeVar("Result")
Input = TypeVar("Input")


def read_each(
    read: Callable[[Path], Result], index: Index, label: str, keep: Callable[[Result], None]
) -> list[tuple[int, str]]:
    """Read every file of an index in parallel; return position and reason of each that can't be read.

    Args:
        read: Reads one file, in any thread; any exception means that the file can't be read.
        index: The files.
        label: Text of the progress bar.
        keep: Called with each result, in the order of the index.
    """

    def read_chunk(start: int) -> list[Result | str]:
        return [result_or_reason(read, index.root / path) for path in index.paths[start : start + CHUNK]]

    bad, starts = [], range(0, len(index), CHUNK)
    hidden = not get_console().is_interactive  # or a log would get an empty line
    pool = ThreadPoolExecutor()
    with refusing_bombs():
        try:
            chunks = computed_ahead(pool, read_chunk, starts)
            for start, results in zip(
                starts, track(chunks, label, len(starts), transient=True, disable=hidden), strict=True
            ):
                for position, result in enumerate(results, start):
                    if isinstance(result, str):
                        bad.append((position, result))
                    else:
                        keep(result)
        finally:
            pool.shutdown(cancel_futures=True)  # an interrupt must not wait for results that nobody will read
    return bad


@contextmanager
def refusing_bombs() -> Iterator[None]:
    """Make Pillow's warning of an image of too many pixels an error, while the context lasts."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def computed_ahead(pool: Executor, compute: Callable[[int], Result], inputs: Iterable[int]) -> Iterator[Result]:
    """Yield the result for each input, in order; at most 8 results per processor wait in memory."""
    most = 8 * (os.cpu_count() or 1)
    waiting: deque[Future[Result]] = deque()
    for each in inputs:
        waiting.append(pool.submit(compute, each))
        if len(waiting) > most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def result_or_reason(read: Callable[[Input], Result], source: Input) -> Result | str:
    """Return what `read` returns for a file, or in one line why the file can't be read."""
    try:
        return read(source)
    except Exception as error:  # decoders raise nearly anything on broken bytes; one file must not end the run
        return reason_of(error)
