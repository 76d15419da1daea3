"""Decode: cold and warm start of the package's decoded images beside Pillow alone.

    python benchmarks/decode.py --data PATH --repeats 5 --json decode.json

Every file is read once before, so that all ways find the files in the system's memory. Cold and warm are
`TumorData.setup()`, which digests and verifies beside decoding; Pillow's ways open, convert to grey and resize.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import images, measure
from brain_tumor_tl.data import TumorData
from brain_tumor_tl.data.index import EXTENSIONS

WAYS = ["cold", "warm", "pillow", "pillow-threads", "pillow-processes"]


def open_data(root: Path, size: int, cache: Path) -> int:
    """Make or open the package's decoded images; return how many there are."""
    data = TumorData(
        root, images.known_classes(), image_size=size, batch_size=32, normalize="unit", cache_dir=cache, seed=0
    )
    data.setup()
    return len(data.index)


def decode_file(path: Path, size: int) -> int:
    """Open, convert and resize one file with Pillow; return a pixel's value, so that none is skipped."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L").resize((size, size), Image.Resampling.BILINEAR))
    return int(pixels[0, 0])


def decode_in(pool: Executor | None, paths: Sequence[Path], size: int) -> int:
    """Decode every file, in a pool where there is one; return how many."""
    decode = partial(decode_file, size=size)
    if pool is None:
        return len([decode(path) for path in paths])
    with pool:
        return len(list(pool.map(decode, paths, chunksize=16)))


def ways_of(options: Any, root: Path, work: Path) -> dict[str, Callable[[], float]]:
    """Return what measures each way, in seconds."""
    paths, caches = files_below(root), count()
    latest = [work / "none"]

    def cold() -> int:
        latest[0] = work / f"cache{next(caches)}"
        return open_data(root, options.image_size, latest[0])

    actions: dict[str, Callable[[], int]] = {
        "cold": cold,
        "warm": lambda: open_data(root, options.image_size, latest[0]),
        "pillow": lambda: decode_in(None, paths, options.image_size),
        "pillow-threads": lambda: decode_in(ThreadPoolExecutor(options.workers), paths, options.image_size),
        "pillow-processes": lambda: decode_in(processes(options.workers), paths, options.image_size),
    }
    return {name: partial(measure.seconds_of, actions[name]) for name in options.ways}


def processes(workers: int) -> Executor:
    """Return a pool of forked processes, as PyTorch's DataLoader has them on Linux; others would import torch anew."""
    return ProcessPoolExecutor(workers, mp_context=get_context("fork"))


def files_below(root: Path) -> list[Path]:
    """Return every image file below a folder, having read each once."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in EXTENSIONS)
    for path in paths:
        path.read_bytes()
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure each way in turns, print the table."""
    options = measure.options(
        __doc__, arguments, ("ways", WAYS, "which ways; `warm` needs `cold` before it"),
        data=None, images=3264, image_size=224, repeats=3, workers=os.cpu_count() or 1,
    )  # fmt: skip
    if not options.ways or set(options.ways) - set(WAYS) or ("warm" in options.ways and options.ways[0] != "cold"):
        raise SystemExit(f"Expected --ways among {', '.join(WAYS)}, cold first where warm is one; got {options.ways}.")
    facts = measure.surroundings()
    with images.work_folder() as work:
        root = images.provided(options.data, options.images, options.image_size, work)
        found = len(files_below(root))
        given = measure.taking_turns(ways_of(options, root, work), options.repeats)
    first = given[options.ways[0]]
    rows: list[dict[str, Any]] = [
        {
            "way": name,
            "seconds": measure.spread(seconds),
            "milliseconds an image": 1000 * measure.spread(seconds).median / found,
            f"times as long as {options.ways[0]}": measure.ratios(seconds, first),
        }
        for name, seconds in given.items()
    ]
    measure.report(f"Decoding {found} files to {options.image_size} pixels", rows, options, facts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
