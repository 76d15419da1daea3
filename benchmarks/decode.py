"""Decode: the package's cold and warm decoding compared with Pillow alone.

    python benchmarks/decode.py --data PATH --repeats 5 --json decode.json

Every file is read once beforehand, so that all variants find the files in the page cache. Cold and warm are
`TumorData.setup()`, which also computes and verifies digests; the Pillow variants open, convert to grey and resize.
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
from brain_tumor_tl import TumorData
from brain_tumor_tl.data.formats import PILLOW

VARIANTS = ["cold", "warm", "pillow", "pillow-threads", "pillow-processes"]


def open_data(root: Path, size: int, cache: Path) -> int:
    """Build or open the package's decoded images; return their number."""
    data = TumorData(
        root, images.known_classes(), image_size=size, batch_size=32, normalize="unit", cache_dir=cache, seed=0
    )
    data.setup()
    return len(data.index)


def decode_file(path: Path, size: int) -> int:
    """Open, convert and resize one file with Pillow; return one pixel, so that decoding cannot be skipped."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L").resize((size, size), Image.Resampling.BILINEAR))
    return int(pixels[0, 0])


def decode_in(pool: Executor | None, paths: Sequence[Path], size: int) -> int:
    """Decode every file, in a pool if one is given; return their number."""
    decode = partial(decode_file, size=size)
    if pool is None:
        return len([decode(path) for path in paths])
    with pool:
        return len(list(pool.map(decode, paths, chunksize=16)))


def measurements_of(options: Any, root: Path, work: Path) -> dict[str, Callable[[], float]]:
    """Return a function for each variant that measures it in seconds."""
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
        "pillow-processes": lambda: decode_in(forked_processes(options.workers), paths, options.image_size),
    }
    return {name: partial(measure.seconds_of, actions[name]) for name in options.variants}


def forked_processes(workers: int | None = None) -> Executor:
    """Return a pool of forked processes, as PyTorch's DataLoader has on Linux; spawned ones would import torch."""
    return ProcessPoolExecutor(workers, mp_context=get_context("fork"))


def files_below(root: Path) -> list[Path]:
    """Read every image file below a folder once and return the paths."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in PILLOW)
    for path in paths:
        path.read_bytes()
    return paths


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the variants in turn and print the table."""
    options = measure.options(
        __doc__, arguments, ("variants", VARIANTS, "variants to measure; `warm` needs `cold` before it"),
        data=None, images=3264, image_size=224, repeats=3, workers=os.cpu_count() or 1,
    )  # fmt: skip
    if (
        not options.variants
        or set(options.variants) - set(VARIANTS)
        or ("warm" in options.variants and options.variants[0] != "cold")
    ):
        raise SystemExit(
            f"Expected --variants among {', '.join(VARIANTS)}, cold first where warm is one; got {options.variants}."
        )
    environment = measure.environment()
    with images.work_folder() as work:
        root = images.provided(options.data, options.images, options.image_size, work)
        found = len(files_below(root))
        given = measure.taking_turns(measurements_of(options, root, work), options.repeats)
    first = given[options.variants[0]]
    rows: list[dict[str, Any]] = [
        {
            "variant": name,
            "seconds": measure.spread(seconds),
            "ms per image": 1000 * measure.spread(seconds).median / found,
            f"relative to {options.variants[0]}": measure.ratios(seconds, first),
        }
        for name, seconds in given.items()
    ]
    measure.report(f"Decoding {found} files to {options.image_size} pixels", rows, options, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main())
